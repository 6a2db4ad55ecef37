"""Where the fit of items and annotators (`response_model.py`) begins: how clear items are, and who turns answers round."""

import numpy as np
from scipy.special import expit

from tasks.stats.ballots import Ballots
from tasks.stats.dawid_skene import one_coin


def typical_start(ballots: Ballots, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((annotators,) bool, who is taken to answer the other way round; (grid,) weights of signed clarity).

    Nobody is, but where no golden item is known and pairs of votes agree less often than coins, by more than a standard
    error: typical annotators are no start for that, and every item would look unclear; what most say of an item is one.
    """
    turned = np.zeros(ballots.n_annotators, dtype=bool)
    agreement, pairs = _agreement(ballots.choice, ballots.starts)
    if not ballots.on_golden.any() and agreement < 0.5 - 0.5 / np.sqrt(pairs):
        reliability = one_coin(ballots.who, ballots.item, ballots.choice).reliability
        turned[: len(reliability)] = reliability < 0.5
        agreement, _ = _agreement(ballots.choice ^ turned[ballots.who], ballots.starts)
    return turned, _weights(agreement, grid)


def _agreement(choice: np.ndarray, starts: np.ndarray) -> tuple[float, float]:
    """(share of pairs of votes on an item that say the same, number of pairs); .7 and 1 where no item has two votes."""
    n = np.diff(np.r_[starts, len(choice)]).astype(np.float64)
    ones = np.add.reduceat(choice.astype(np.float64), starts)
    pairs = float((n * (n - 1)).sum()) / 2
    alike = float((ones * (ones - 1) + (n - ones) * (n - ones - 1)).sum()) / 2
    return (alike / pairs, pairs) if pairs else (0.7, 1.0)


def _weights(agreement: float, grid: np.ndarray) -> np.ndarray:
    """(grid,) of the scale of exponential clarity at which typical annotators agree as often as pairs of votes do."""
    scales = np.geomspace(0.2, 20, 60)
    weights = [np.exp(-np.abs(grid) / scale) * np.gradient(grid) for scale in scales]
    expected = [float(w @ (expit(grid) ** 2 + expit(-grid) ** 2) / w.sum()) for w in weights]
    best = weights[int(np.argmin(np.abs(np.array(expected) - agreement)))]
    weights_of_grid: np.ndarray = best / best.sum()
    return weights_of_grid
