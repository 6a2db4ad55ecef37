"""How often an annotator's vote agrees with another annotator's vote on the same item: raw, without a model.

    a_j = Σ_{i of j} (same votes of others on i) / Σ_{i of j} (votes of others on i)

Leave-one-out percent agreement (Artstein and Poesio 2008, §2.3 for the pairwise form). O(votes).
"""

import numpy as np

from tasks.stats.ballots import Ballots


def pairwise_agreement(ballots: Ballots) -> tuple[np.ndarray, float]:
    """((annotators,) agreement with others, NaN without any; agreement over all pairs of votes on an item)."""
    n = np.bincount(ballots.item, minlength=ballots.n_items)
    ones = np.bincount(ballots.item, weights=ballots.choice, minlength=ballots.n_items)
    others = n[ballots.item] - 1
    same = np.where(ballots.choice == 1, ones[ballots.item], n[ballots.item] - ones[ballots.item]) - 1
    met, alike = ballots.per_annotator(others), ballots.per_annotator(same)
    with np.errstate(invalid="ignore", divide="ignore"):
        return alike / met, float(np.float64(alike.sum()) / np.float64(met.sum()))


def raw_agreement(counts: np.ndarray, times: np.ndarray) -> float:
    """Agreement over all pairs of votes on an item; `counts`: (patterns, categories) votes, each `times` over."""
    n = counts.sum(axis=1)
    return float(times @ (counts * (counts - 1)).sum(axis=1) / (times @ (n * (n - 1))))
