"""Different rows of votes' counts, and the bootstrap over items that they make cheap.

Items with the same counts are exchangeable, so that drawing items with replacement is a multinomial draw of how often
each pattern occurs (Efron and Tibshirani 1993): the cost of an interval grows with the number of different patterns,
not with the items. O(items log items + resamples × patterns).
"""

from collections.abc import Callable

import numpy as np

Statistic = Callable[[np.ndarray, np.ndarray], float]  # of patterns (p, categories) and their times (p,)


def count_patterns(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different rows of `counts` (items, categories), and how often each occurs."""
    key, size = np.zeros(len(counts), dtype=np.int64), 1.0
    for column in counts.astype(np.int64).T:  # mixed radix, made dense again before it overflows
        radix = int(column.max(initial=0)) + 1
        size *= radix
        if size > 2**62:
            different, key = np.unique(key, return_inverse=True)
            size = len(different) * radix
        key = key * radix + column
    if size > len(key):
        _, first, times = np.unique(key, return_index=True, return_counts=True)
        return counts[first], times
    times, row = np.bincount(key), np.empty(int(size), dtype=np.int64)  # few keys need no sorting
    row[key] = np.arange(len(key))
    present = np.flatnonzero(times)
    return counts[row[present]], times[present]


def pattern_bootstrap(
    counts: np.ndarray, statistic: Statistic, resamples: int, *, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """(value, low, high) of a statistic of items with at least two votes; NaN where there are none."""
    paired = counts[counts.sum(axis=1) >= 2]
    if len(paired) == 0:
        return float("nan"), float("nan"), float("nan")
    patterns, times = count_patterns(paired)
    draws = np.random.default_rng(seed).multinomial(times.sum(), times / times.sum(), size=resamples)
    sampled = [statistic(patterns, drawn) for drawn in draws]
    low, high = np.nanquantile(sampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return statistic(patterns, times), float(low), float(high)
