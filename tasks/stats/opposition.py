"""Judges who contradict each other: of every pair of them, whether they decide items opposite ways more often than not.

Under the null hypothesis a pair of judges is opposed on at most half of the items that both decide: p is the exact one-sided
binomial tail (sign test), and q the false-discovery rate over all pairs (Benjamini and Hochberg 1995).
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import binom

from tasks.stats.family_wise import q_values
from tasks.stats.intervals import wilson


@dataclass(frozen=True)
class Opposition:
    """Judges `first` and `second` (columns): on `n` items that both decide they are `opposed` on some; `low`, `high`:
    Wilson's interval of that share; `p`, `q`."""

    first: int
    second: int
    n: int
    opposed: int
    low: float
    high: float
    p: float
    q: float


def oppositions(log_odds: np.ndarray, level: float = 0.95) -> list[Opposition]:
    """Every pair of the k columns of `log_odds` (n, k), whose sign is a decision; 0 and not-a-number decide nothing."""
    decided = np.sign(np.nan_to_num(log_odds))
    pairs = list(combinations(range(log_odds.shape[1]), 2))
    products = [decided[:, i] * decided[:, j] for i, j in pairs]
    counts = [(int((x != 0).sum()), int((x < 0).sum())) for x in products]
    p = np.array([float(binom.sf(opposed - 1, n, 0.5)) for n, opposed in counts])
    q = np.minimum(1.0, q_values(p * len(p)))
    found = zip(pairs, counts, p.tolist(), q.tolist(), strict=True)
    return [
        Opposition(i, j, n, m, *wilson(m, n, level), p_value, q_value) for (i, j), (n, m), p_value, q_value in found
    ]
