"""How often an annotator's vote agrees with another annotator's vote on the same item: raw, without a model.

    a_j = Σ_{i of j} (same votes of others on i) / Σ_{i of j} (votes of others on i)

Leave-one-out percent agreement (Artstein and Poesio 2008, §2.3 for the pairwise form). O(votes).
"""

import numpy as np

from tasks.stats.ballots import Ballots, add, by_item


def pairwise_agreement(ballots: Ballots) -> tuple[np.ndarray, float]:
    """((annotators,) agreement with others, NaN without any; agreement over all pairs of votes on an item)."""
    n, ones = ballots.votes_of_items, ballots.ones_of_items
    met, alike = (np.zeros(ballots.n_annotators, dtype=np.int64) for _ in range(2))
    for rows in by_item(ballots.item):
        item, choice = ballots.item[rows], ballots.choice[rows]
        same = np.where(choice == 1, ones[item], n[item] - ones[item]) - 1
        add(met, ballots.who[rows], n[item] - 1)
        add(alike, ballots.who[rows], same)
    with np.errstate(invalid="ignore", divide="ignore"):
        return alike / met, float(np.float64(alike.sum()) / np.float64(met.sum()))


def raw_agreement(counts: np.ndarray, times: np.ndarray) -> float:
    """Agreement over all pairs of votes on an item; `counts`: (patterns, categories) votes, each `times` over."""
    n = counts.sum(axis=1)
    return float(times @ (counts * (counts - 1)).sum(axis=1) / (times @ (n * (n - 1))))
