"""Fleiss' κ: agreement of several raters on categories beyond chance.

With n_ik votes for category k on item i and n_i = Σ_k n_ik,

    P_i = Σ_k n_ik (n_ik − 1) / (n_i (n_i − 1)),   P̄ = mean of P_i,   p_k = Σ_i n_ik / Σ_i n_i,   P_e = Σ_k p_k²
    κ = (P̄ − P_e) / (1 − P_e)

Fleiss (1971). Items with different numbers of votes enter with equal weight (Fleiss and Cuzick 1979); items with one
vote have no pair and are left out. O(items × categories).
"""

import numpy as np


def fleiss_kappa(counts: np.ndarray, times: np.ndarray | None = None) -> float:
    """`counts`: (items, categories) votes, each row `times` (items,) over, by default once. NaN where no item has two
    votes; 1 where all votes are the same."""
    times = np.ones(len(counts)) if times is None else times
    times, counts = times[counts.sum(axis=1) >= 2], counts[counts.sum(axis=1) >= 2].astype(np.float64)
    if times.sum() == 0:
        return float("nan")
    n = counts.sum(axis=1)
    observed = float(times @ ((counts * (counts - 1)).sum(axis=1) / (n * (n - 1))) / times.sum())
    votes = times @ counts
    expected = float(((votes / votes.sum()) ** 2).sum())
    return 1.0 if expected == 1 else (observed - expected) / (1 - expected)
