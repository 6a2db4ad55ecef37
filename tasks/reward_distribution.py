"""Whether a reward model that gives distributions (`tasks.rlhf.distributional`) has found hidden context: r², and what its spreads
are worth on pairs that it was not trained on.
"""

from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_ndtr

from tasks.rlhf.distributional import SCALE, explained, spread, standardised
from tasks.stats.intervals import bootstrap, bootstrap_mean

Row = dict[str, Any]


def measure(
    test: torch.Tensor,
    dev: torch.Tensor,
    weights: np.ndarray,
    clusters: tuple[np.ndarray, np.ndarray],
    drawn: dict[str, Any],
) -> list[Row]:
    """Rows of `metrics.json`. `test` (n, 2, 2), `dev` (m, 2, 2): of pairs, better answer first, μ and s of each answer; `weights`
    (m,); `clusters`: of both, those that stand and fall together; `drawn`: level, resamples and seed of intervals.

    `distribution/r2` is of the test side's answers. `distribution/gain`: by how much the spreads predict a pair of the dev part better
    than one spread for all of them does, the best there is, nats a pair.
    """
    r2 = explained(test.flatten(0, 1))
    r2_low, r2_high = bootstrap(
        lambda rows: explained(test[torch.from_numpy(rows)].flatten(0, 1)), clusters[0], **drawn
    )
    gains = _gains(dev, weights)
    gain = float(np.average(gains, weights=weights))
    low, high = bootstrap_mean(gains * weights, weights=weights, clusters=clusters[1], **drawn)
    return [
        {"name": "distribution/r2", "value": r2, "low": r2_low, "high": r2_high, "n": 2 * len(test), "slice": None},
        {"name": "distribution/gain", "value": gain, "low": low, "high": high, "n": len(dev), "slice": None},
    ]


def contested(ids: list[str], test: torch.Tensor) -> list[Row]:
    """The test side's pairs, those first on whose answers utility varies most: the difference of the means, and each σ."""
    sigma = spread(test[:, :, 1])
    order = sigma.square().sum(1).argsort(descending=True, stable=True).tolist()
    return [
        {
            "id": ids[i],
            "mean_gap": round(float(test[i, 0, 0] - test[i, 1, 0]), 4),
            "spread_chosen": round(float(sigma[i, 0]), 4),
            "spread_rejected": round(float(sigma[i, 1]), 4),
        }
        for i in order
    ]


def _gains(pairs: torch.Tensor, weights: np.ndarray) -> np.ndarray:
    """(m,) log Φ(z) less log Φ(Δμ / τ), τ the one deviation that makes the latter as probable as it can be."""
    gaps = (pairs[:, 0, 0] - pairs[:, 1, 0]).double().numpy()
    z = standardised(pairs[:, 0].double(), pairs[:, 1].double()).numpy()

    def loss(log_tau: float) -> float:
        return -float(weights @ log_ndtr(gaps / np.exp(log_tau)))

    middle = np.log(SCALE)
    best = minimize_scalar(loss, bounds=(middle - 5, middle + 5), method="bounded").x
    found: np.ndarray = log_ndtr(z) - log_ndtr(gaps / np.exp(best))
    return found
