"""Calibration of a preference probability: temperature scaling, reliability and expected calibration error.

A reward model says that it prefers an answer with probability σ(Δ/T), Δ the margin of the scores. The temperature T
minimises the weighted negative log-likelihood −Σ wᵢ log σ(Δᵢ/T) of pairs that it was not trained on; it changes no
ranking. Its confidence is σ(|Δ|/T), from ½ to 1, and with B bins of confidence

    ECE = Σ_b (n_b/n) |share right_b − mean confidence_b|.

Source: Guo et al. (2017), "On Calibration of Modern Neural Networks". Bins hold equally many pairs (Nguyen and O'Connor
2015), since the confidences of a small reward model all lie near ½. The estimate is too high by chance alone where bins
are small: `if_calibrated` says what a perfectly calibrated model of these confidences would show on as many pairs
(consistency resampling, Bröcker and Smith 2007), and the interval is the basic bootstrap's, 2·ECE − quantile, which
takes that bias off (Davison and Hinkley 1997, section 5.2).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from tasks.stats.logistic_slope import logistic_slope

BINS = 10
COLDEST, HOTTEST = 0.01, 100.0


@dataclass(frozen=True)
class Reliability:
    """`ece` with its interval; `if_calibrated`: (mean, low, high) of the ECE of a perfectly calibrated model;
    `curve`: rows (mean confidence, share right, pairs), one a bin."""

    ece: float
    low: float
    high: float
    if_calibrated: tuple[float, float, float]
    curve: list[tuple[float, float, int]]


def temperature(margins: np.ndarray, weights: np.ndarray) -> float:
    """T of held-out pairs, from .01 to 100. `margins` (n,): score of chosen less score of rejected; `weights` (n,)."""
    return 1 / logistic_slope(margins.astype(np.float64), weights, 1 / HOTTEST, 1 / COLDEST)


def temperature_interval(
    margins: np.ndarray,
    weights: np.ndarray,
    *,
    level: float,
    resamples: int,
    seed: int,
    clusters: np.ndarray | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of `temperature` over pairs, or over `clusters` (n,) of them, such as rankings."""
    rng = np.random.default_rng(seed)
    labels = np.arange(len(margins)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    groups = int(labels.max()) + 1
    drawn = (np.bincount(rng.integers(groups, size=groups), minlength=groups)[labels] for _ in range(resamples))
    found = [temperature(margins, weights * times) for times in drawn]
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def reliability(
    margins: np.ndarray, at: float, clusters: np.ndarray, *, level: float, resamples: int, seed: int
) -> Reliability:
    """Reliability of σ(|Δ|/T) on `margins` (n,) at temperature `at`; a margin of 0 counts as wrong.

    `clusters` (n,): labels of pairs that are drawn together, such as those of one prompt.
    """
    confidence = expit(np.abs(margins.astype(np.float64)) / at)
    right = (margins > 0).astype(np.float64)
    bins = min(BINS, len(margins))
    bin_of = np.empty(len(margins), dtype=np.int64)
    bin_of[np.argsort(confidence, kind="stable")] = np.arange(len(margins)) * bins // len(margins)

    def ece(outcomes: np.ndarray, counts: np.ndarray) -> float:
        return float(np.abs(np.bincount(bin_of, counts * (outcomes - confidence), bins)).sum() / counts.sum())

    ones, rng = np.ones(len(margins)), np.random.default_rng(seed)
    labels = np.unique(clusters, return_inverse=True)[1]
    groups = int(labels.max()) + 1
    again = [
        ece(right, np.bincount(rng.integers(groups, size=groups), minlength=groups)[labels]) for _ in range(resamples)
    ]
    chance = [ece((rng.random(len(right)) < confidence).astype(np.float64), ones) for _ in range(resamples)]
    ends = [(1 - level) / 2, (1 + level) / 2]
    value = ece(right, ones)
    low, high = 2 * value - np.quantile(again, ends)[::-1]
    least, most = (float(q) for q in np.quantile(chance, ends))
    n = np.bincount(bin_of, minlength=bins)
    means = (np.bincount(bin_of, v, bins) / n for v in (confidence, right))
    curve = [(float(c), float(r), int(k)) for c, r, k in zip(*means, n, strict=True)]
    return Reliability(value, max(0.0, float(low)), max(0.0, float(high)), (float(np.mean(chance)), least, most), curve)
