"""Whether the labels of a set of rows are turned round: a score test that conditions on the pairs of answers.

Let m_i be the log-odds by the audit model that row i's chosen answer is preferred, a = |m| and t = tanh(a/2). Given the
two answers and nothing else, an honest label puts the likelier one first with probability (1 + t)/2. The statistic
T = Σ a_i (t_i − sgn m_i) is the most powerful one against "all labels of the set are turned round" (Neyman and Pearson
1933); honest labels give it mean 0 and variance Σ a_i² (1 − t_i²), also where the model knows nothing. Tails by the
saddlepoint approximation of Lugannani and Rice (1980), since a few sure labels are far from normal. Real labels are
not as independent as that: z is divided by the inflation that sets of like size show (genomic control; Devlin and
Roeder 1999). O(entries) + O(rows) for each set near significance.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, log_expit
from scipy.stats import norm

from tasks.stats.row_sets import RowSets

Z95 = 1.96
SCREEN = 1e-2  # normal p-values above this are not refined
MEDIAN_OF_CHI2 = 0.4549
OCTAVES = 64
FEW = 60  # fewer sets than this in a class of sizes say nothing about inflation
REDRAWN = 8  # times that honest labels are drawn anew, to see how much the median of overlapping sets varies


@dataclass(frozen=True)
class FlipTests:
    """(s,) each: p-value; the least that any labels could have given; estimated share of turned labels, its error."""

    p_values: np.ndarray
    least_p: np.ndarray
    share: np.ndarray
    error: np.ndarray

    def interval(self, k: int) -> tuple[float, float, float]:
        """Share of turned labels of set k, and its 95 % interval, within 0 … 1."""
        half = Z95 * self.error[k]
        share, low, high = np.clip([self.share[k], self.share[k] - half, self.share[k] + half], 0, 1).tolist()
        return share, low, high


def flip_tests(sets: RowSets, margins: np.ndarray, factors: np.ndarray | None = None) -> FlipTests:
    """Test every set; `factors`: (OCTAVES,) inflation by size, by default that of the sets themselves."""
    sure = np.abs(margins)
    trust = np.tanh(sure / 2)
    score = sure * (trust - np.sign(margins))
    z = _z(sets.sums(score), _variance(sets, sure, trust))
    factors = inflation(sets, margins) if factors is None else factors
    spread = np.sqrt(factors[_octave(sets.sizes)])
    p_values = norm.sf(z / spread)
    for k in np.flatnonzero(p_values < SCREEN):
        rows = sets.rows[sets.bounds[k] : sets.bounds[k + 1]]
        exact = max(_saddlepoint(score[rows].sum(), sure[rows], trust[rows]), 1e-300)
        p_values[k] = max(p_values[k], norm.sf(norm.isf(exact) / spread[k]))
    weight = sets.sums(trust**2)
    agree = sets.sums(trust * np.sign(margins))
    noise = np.sqrt(sets.sums(trust**2 * (1 - trust**2)))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(weight > 0, (1 - agree / weight) / 2, 0.0)
        error = np.where(weight > 0, noise / weight / 2, np.inf)
    informed = np.where(sure > 0, log_expit(-sure), 0.0)
    return FlipTests(p_values, np.exp(sets.sums(informed)), share, error)


def _variance(sets: RowSets, sure: np.ndarray, trust: np.ndarray) -> np.ndarray:
    return sets.sums(sure**2 * (1 - trust**2))


def _z(total: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return np.where(variance > 0, total / np.sqrt(np.maximum(variance, 1e-30)), 0.0)


def _honest(sure: np.ndarray, trust: np.ndarray) -> Iterator[np.ndarray]:
    """Scores of labels as the model would have them: the likelier answer first with probability (1 + t)/2."""
    rng = np.random.default_rng(0)
    for _ in range(REDRAWN):
        yield sure * (trust - np.where(rng.random(len(sure)) < (1 + trust) / 2, 1.0, -1.0))


def inflation(sets: RowSets, margins: np.ndarray) -> np.ndarray:
    """(OCTAVES,) ≥ 1: median of z² over its value under the null among sets of a size within a factor of two, less two
    standard errors of it, by honest labels drawn anew: sets share rows, and are fewer than they seem. Beyond the sizes
    with enough sets the last known value holds."""
    sure = np.abs(margins)
    trust = np.tanh(sure / 2)
    score = sure * (trust - np.sign(margins))
    variance = _variance(sets, sure, trust)
    z = np.stack([_z(sets.sums(s), variance) for s in (score, *_honest(sure, trust))])
    octave, factors, now = _octave(sets.sizes), np.ones(OCTAVES), 1.0
    for k in range(OCTAVES):
        of = octave == k
        if of.sum() >= FEW:
            ratio, *honest = np.median(z[:, of] ** 2, axis=1) / MEDIAN_OF_CHI2
            now = max(1.0, float(ratio / (1 + 2 * np.std(honest))))
        factors[k] = now
    return factors


def _octave(sizes: np.ndarray) -> np.ndarray:
    return np.floor(np.log2(np.maximum(sizes, 1))).astype(int)


def _saddlepoint(total: float, sure: np.ndarray, trust: np.ndarray) -> float:
    """P(T ≥ total) for T = Σ a (t − sgn), sgn = +1 with probability (1 + t)/2; `total` > 0."""
    known = sure > 0
    high, low = (sure * (1 + trust))[known], (-sure * (1 - trust))[known]
    log_up, log_down = log_expit(-sure[known]), log_expit(sure[known])  # as 1 − t is 0 where the model is very sure
    if total >= high.sum() - 1e-9:
        return float(np.exp(log_up.sum()))

    def tilted(s: float) -> np.ndarray:
        up: np.ndarray = expit(log_up - log_down + s * (high - low))
        return up

    def slope(s: float) -> float:
        return float((low + tilted(s) * (high - low)).sum()) - total

    end = 1.0
    while slope(end) < 0:  # it rises with s to more than 0, as the total is less than the largest
        end *= 2
    s = float(brentq(slope, 0.0, end)) if slope(0.0) < 0 else 0.0
    up = tilted(s)
    generating = float((s * low + np.logaddexp(log_down, log_up + s * (high - low))).sum())
    w = np.sign(s) * np.sqrt(max(2 * (s * total - generating), 0.0))
    u = s * np.sqrt(float((up * (1 - up) * (high - low) ** 2).sum()))
    if abs(w) < 1e-4 or abs(u) < 1e-4:
        return 0.5
    return float(np.clip(norm.sf(w) + norm.pdf(w) * (1 / u - 1 / w), 0.0, 1.0))
