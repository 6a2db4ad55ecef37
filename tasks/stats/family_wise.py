"""One family-wise level over many kinds of tests.

The level is divided among families of hypotheses by shares fixed beforehand (weighted Bonferroni; Genovese, Roeder and
Wasserman 2006). Within a family, hypotheses that could not have been rejected whatever the labels do not count (Tarone
1990). O(s log s).
"""

import numpy as np


def tarone(least_p: np.ndarray, level: float) -> int:
    """Number of hypotheses to correct for: the smallest k with at most k of them able to reach level / k."""
    ordered = np.sort(least_p)
    low, high = 1, max(1, len(ordered))
    while low < high:
        k = (low + high) // 2
        if np.searchsorted(ordered, level / k, side="right") <= k:
            high = k
        else:
            low = k + 1
    return low


def adjusted(p_values: np.ndarray, least_p: np.ndarray | None, share: float, level: float) -> np.ndarray:
    """(s,) p-values adjusted for the family and for its share of the level: at most `level` means rejected."""
    count = len(p_values) if least_p is None else tarone(least_p, level * share)
    return np.minimum(1.0, p_values * max(1, count) / share)


def q_values(adjusted_p: np.ndarray) -> np.ndarray:
    """(s,) false-discovery q-values of everything tried, from p-values weighted as above: Benjamini and Hochberg (1995)
    on p·m/share, whose i-th smallest is divided by i."""
    order = np.argsort(adjusted_p, kind="stable")
    ratio = adjusted_p[order] / np.arange(1, len(order) + 1)
    out = np.empty(len(order))
    out[order] = np.minimum.accumulate(ratio[::-1])[::-1]
    return out
