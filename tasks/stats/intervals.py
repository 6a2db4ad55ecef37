"""Intervals: Wilson's for a proportion, the percentile bootstrap for a mean or another statistic, by rows or by clusters of
rows."""

from collections.abc import Callable

import numpy as np
from scipy.special import ndtri


def wilson(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927). (0, 1) without observations."""
    if n == 0:
        return 0.0, 1.0
    z = float(ndtri(0.5 + level / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def wilson_clustered(hits: np.ndarray, clusters: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Wilson interval of the share of `hits` (n,) bool that come in clusters (n,), such as the pairs of one ranking.

    With n divided by the design effect, the variance of the share over clusters by that of as many independent rows
    (Kish 1965; Korn and Graubard 1998), never below 1; clusters of one row give Wilson's interval itself.
    """
    n, labels = len(hits), np.unique(clusters, return_inverse=True)[1]
    groups = int(labels.max()) + 1 if n else 0
    share = float(hits.mean()) if n else 0.0
    if groups == n or share in (0.0, 1.0):
        effect = n / max(groups, 1)  # all alike: as if each cluster were one row
    else:
        sums = np.bincount(labels, weights=hits - share)
        effect = max(1.0, float((sums**2).sum()) * groups / max(groups - 1, 1) / (n * share * (1 - share)))
    return wilson(int(hits.sum()) / effect, n / effect, level) if effect > 1 else wilson(int(hits.sum()), n, level)


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


def bootstrap(
    statistic: Callable[[np.ndarray], float], clusters: np.ndarray, *, level: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic of row indices, over clusters (n,) of rows; draws without a value (NaN)
    are left out."""
    labels = np.unique(clusters, return_inverse=True)[1]
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])
    rng = np.random.default_rng(seed)
    found = [
        statistic(np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))]))
        for _ in range(resamples)
    ]
    low, high = np.nanquantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
