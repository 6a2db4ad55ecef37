"""Krippendorff's α: agreement among any number of raters beyond chance, with missing votes.

From the units' value counts n_uc (n_u = Σ_c n_uc, units with n_u ≥ 2) the coincidences are
o_ck = Σ_u n_uc (n_uk − [c = k]) / (n_u − 1), n_c = Σ_k o_ck, n = Σ_c n_c, and

    α = 1 − (n − 1) Σ o_ck δ²_ck / Σ n_c n_k δ²_ck

δ² nominal: [c ≠ k]; interval: (c − k)²; ordinal: (Σ_{g=c}^{k} n_g − (n_c + n_k)/2)². Krippendorff (2011), Computing
Krippendorff's Alpha-Reliability. The interval is a percentile bootstrap over units; units with the same counts are
drawn together (multinomial), so its cost grows with the number of different patterns. O(votes + patterns × values²)
time; the patterns themselves are held, and no table of their coincidences.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from tasks.stats.count_patterns import count_patterns

CELLS = 1 << 20  # of the tables of units and values that are in memory at once
PATTERNS = 1 << 16  # different counts that are weighed at once
Level = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True)
class Alpha:
    """α and its bootstrap interval; `units`: with at least two votes. NaN where nothing can be paired."""

    alpha: float
    low: float
    high: float
    units: int


def krippendorff_alpha(
    unit: np.ndarray,
    value: np.ndarray,
    level: Level,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Alpha:
    """`unit`: (votes,) item codes; `value`: (votes,) numbers, the order and distance of which count by `level`."""
    values, code = _coded(value)
    patterns, times = _patterns(unit, code, len(values))
    if len(patterns) == 0:
        return Alpha(float("nan"), float("nan"), float("nan"), 0)
    alpha = _alpha(_coincidences(patterns, times), values, level)
    rng, share = np.random.default_rng(seed), times / times.sum()
    sampled = [
        _alpha(_coincidences(patterns, rng.multinomial(times.sum(), share)), values, level) for _ in range(resamples)
    ]
    low, high = np.nanquantile(sampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Alpha(alpha, float(low), float(high), int(times.sum()))


def _patterns(unit: np.ndarray, code: np.ndarray, values: int) -> tuple[np.ndarray, np.ndarray]:
    """Different counts of the values in a unit with two votes or more, and how often each occurs; some units after
    others, so that no table of all of them is made."""
    if (unit[1:] < unit[:-1]).any():
        order = np.argsort(unit, kind="stable")
        unit, code = unit[order], code[order]
    found, times = [np.zeros((0, values), dtype=np.int32)], [np.zeros(0, dtype=np.int64)]
    cuts = np.searchsorted(unit, unit[:: max(1, CELLS // max(1, values))])
    for rows in (slice(a, b) for a, b in pairwise(np.unique(np.append(cuts, len(unit))).tolist())):
        of = np.cumsum(np.diff(unit[rows], prepend=unit[rows.start]) != 0)
        counts = np.bincount(of * values + code[rows], minlength=(int(of[-1]) + 1) * values).reshape(-1, values)
        here, often = count_patterns(counts[counts.sum(axis=1) >= 2])
        found.append(here.astype(np.int32))
        times.append(often)
    patterns, of = np.unique(np.concatenate(found), axis=0, return_inverse=True)
    return patterns, np.bincount(of, np.concatenate(times), len(patterns)).astype(np.int64)


def _coded(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(different values, ascending; (votes,) place of each value among them); small whole numbers need no sorting."""
    if value.dtype.kind != "i" or len(value) == 0 or int(value.max()) - int(value.min()) > len(value):
        return np.unique(value, return_inverse=True)
    least = int(value.min())
    present = np.zeros(int(value.max()) - least + 1, dtype=bool)
    present[value - np.int64(least)] = True
    place = (np.cumsum(present) - 1).astype(np.int32)
    return np.flatnonzero(present) + least, place[value - np.int64(least)]


def _coincidences(patterns: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(values, values): o_ck of the units that have these counts, each `times` over."""
    o = np.zeros((patterns.shape[1],) * 2)
    for rows in (slice(a, a + PATTERNS) for a in range(0, len(patterns), PATTERNS)):
        counts = patterns[rows].astype(np.float64)
        weighted = counts * (times[rows] / (counts.sum(axis=1) - 1))[:, None]
        o += weighted.T @ counts
        o[np.diag_indices_from(o)] -= weighted.sum(axis=0)
    return o


def _alpha(o: np.ndarray, values: np.ndarray, level: Level) -> float:
    n_c = o.sum(axis=0)
    n = n_c.sum()
    distance = _distance(values, n_c, level)
    expected = float(n_c @ distance @ n_c)
    if expected == 0:  # a single value was ever given: perfect agreement, and no variation to agree on
        return 1.0
    return float(1 - (n - 1) * (o * distance).sum() / expected)


def _distance(values: np.ndarray, n_c: np.ndarray, level: Level) -> np.ndarray:
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    if level == "interval":
        return (values[:, None] - values[None, :]).astype(np.float64) ** 2
    below = np.cumsum(n_c) - n_c / 2  # Σ_{g ≤ c} n_g − n_c / 2: differences of these are the ordinal metric
    return (below[:, None] - below[None, :]) ** 2
