"""Intervals: Wilson's for a proportion, the percentile bootstrap for a mean, by rows or by clusters of rows."""

import numpy as np
from scipy.special import ndtri


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927). (0, 1) without observations."""
    if n == 0:
        return 0.0, 1.0
    z = float(ndtri(0.5 + level / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def bootstrap_mean(
    values: np.ndarray,
    *,
    level: float,
    resamples: int,
    seed: int,
    clusters: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of Σ values / Σ weights (weights default to 1: the mean).

    `values`, `weights`: (n,) floats; `clusters`: (n,) labels of rows that are drawn together, such as the answers to
    one prompt. Efron and Tibshirani (1993).
    """
    values = np.asarray(values, dtype=np.float64)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    labels = np.arange(len(values)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    sums, totals = np.bincount(labels, weights=values), np.bincount(labels, weights=weights)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for i in range(resamples):
        drawn = rng.integers(len(sums), size=len(sums))
        means[i] = sums[drawn].sum() / totals[drawn].sum()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
