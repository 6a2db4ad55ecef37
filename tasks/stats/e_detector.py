"""Shiryaev–Roberts e-detector in calendar time: alarms about change, with a bound on the false ones in a year.

For bets e_n (mean at most 1 given the past, whatever the time is at which one looks) and weights w_n known before,

    M_n = e_n (M_{n−1} + w_n) = Σ_{j ≤ n} w_j Π_{i=j}^n e_i,   alarm when Σ_k π_k M_n^k ≥ c, then begin anew

sums the evidence for a change over every moment at which it may have begun. M_n − Σ w_j is a supermartingale, and an
alarm takes at least c out of M: so the expected number of false alarms is at most Σ w_j / c. Take the years since the
observation before as w_n, and there are at most 1/c false alarms a year, be the traffic ten responses a day or a
million, with no assumption on it.

Shin, Ramdas and Rinaldo 2024, E-detectors: A Nonparametric Framework for Sequential Change Detection (there w = 1 and
the bound is on the average run length); Shiryaev 1963; Roberts 1966. A CUSUM needs a simulation for each distribution
to get its threshold, and confidence sequences (Waudby-Smith and Ramdas 2024) lose their power as the time before the
change grows; this does neither.
"""

from dataclasses import dataclass

import numpy as np


@dataclass
class Detector:
    """State of K bets: `totals` M (K,), in years; `cusum` (K,) their CUSUM in nats, and `since` (K,) when it last was 0:
    the estimate of when the change began, if the bet is the one that won (Page 1954)."""

    totals: np.ndarray
    cusum: np.ndarray
    since: np.ndarray

    @classmethod
    def new(cls, bets: int, head_start: float, now: float) -> "Detector":
        """A detector of so many equal bets; `head_start`: years put on the first observation, which keeps it alive where
        the log gives one time to all."""
        return cls(np.full(bets, head_start), np.zeros(bets), np.full(bets, now))

    @property
    def evidence(self) -> float:
        """Σ π_k M^k in years: false alarms come less than once in so many."""
        return float(self.totals.mean())

    def read(self, log_e: np.ndarray, weights: np.ndarray, times: np.ndarray, limit: float) -> int | None:
        """Take in observations until there is an alarm: its index, None if there is none.

        `log_e`: (n, K) logarithms of the bets; `weights`: (n,) years; `times`: (n,); `limit`: c in years. O(nK); keep n
        to some hundreds, so that no product leaves the range of float64."""
        path = np.cumsum(log_e, axis=0)
        before = np.exp(-np.vstack([np.zeros_like(path[:1]), path[:-1]]))
        totals = np.exp(path) * (self.totals + np.cumsum(weights[:, None] * before, axis=0))
        over = np.flatnonzero(totals.mean(1) >= limit)
        last = int(over[0]) if len(over) else len(log_e) - 1
        self.totals = totals[last]
        self._follow(log_e[: last + 1], times[: last + 1])
        return last if len(over) else None

    def _follow(self, log_e: np.ndarray, times: np.ndarray) -> None:
        walk = self.cusum + np.cumsum(log_e, axis=0)
        cusum = walk - np.minimum(np.minimum.accumulate(walk, axis=0), 0.0)
        at_zero = cusum <= 0
        row = np.maximum.accumulate(np.where(at_zero, np.arange(len(log_e))[:, None], -1), axis=0)[-1]
        self.since = np.where(row >= 0, times[np.maximum(row, 0)], self.since)
        self.cusum = cusum[-1]
