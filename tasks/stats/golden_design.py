"""How many golden items each annotator should see, and which golden items to retire.

Power of the exact binomial audit at Bonferroni level α/m against an accuracy p₁: P(X ≤ c | n, p₁), where c is the
largest count with P(X ≤ c | n, p₀) ≤ α/m. A golden item is to be retired when annotators whose votes elsewhere can be
trusted are right on it less often than a coin (exact binomial, Holm): its answer is wrong, or it is no golden item.
O(items² of the design), O(golden votes).
"""

import numpy as np
from scipy.special import bdtr

from tasks.stats.ballots import Ballots
from tasks.stats.false_discovery import holm
from tasks.stats.golden import LEAST_ACCURACY

MOST = 400


def golden_items_needed(accuracy: float, annotators: int, level: float, power: float) -> int | None:
    """Fewest golden items an annotator at which one who is right with `accuracy` is flagged with `power`."""
    for n in range(1, MOST + 1):
        if golden_power(n, accuracy, annotators, level) >= power:
            return n
    return None


def golden_power(n: int, accuracy: float, annotators: int, level: float) -> float:
    """Probability that an annotator of this accuracy fails the audit on `n` items, with `annotators` tested."""
    tail = bdtr(np.arange(n + 1.0), n, LEAST_ACCURACY)
    worst = int(np.sum(tail <= level / max(1, annotators))) - 1
    return float(bdtr(worst, n, accuracy)) if worst >= 0 else 0.0


def to_retire(ballots: Ballots, trusted: np.ndarray, level: float) -> np.ndarray:
    """Codes of golden items on which `trusted` (annotators,) people are mostly wrong."""
    rows = np.flatnonzero(ballots.on_golden & trusted[ballots.who])
    item = ballots.item[rows]
    votes = np.bincount(item, minlength=ballots.n_items)
    right = np.bincount(item, ballots.choice[rows] == ballots.known[item], ballots.n_items)
    tested = np.flatnonzero(votes > 0)
    return tested[holm(bdtr(right[tested], votes[tested], 0.5), level)]
