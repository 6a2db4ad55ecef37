"""One watched series: its past, the detector that bets against it, and the alarms that come of it.

The first observations are the reference. From then on each is ranked among all before it (`stats.conformal`), the rank
is bet on (`stats.bets`), and the bets are summed over every moment at which a drift may have begun
(`stats.e_detector`). An alarm ends a regime: the series begins anew, and learns its new reference.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.stats.bets import EVENTS, NUMBERS, on_events, on_numbers
from tasks.stats.conformal import Ranks, rounded
from tasks.stats.e_detector import Detector

BLOCK = 256
HEAD_START = 1 / 365  # years on the first observation of a regime


@dataclass(frozen=True)
class Alarm:
    """`index`: of the observation that raised it; `since`: when the drift probably began; `bet`: which alternative won;
    `evidence`: years in which nothing but chance would show as much once."""

    index: int
    since: float
    bet: str
    evidence: float


class Watch:
    """A series of numbers, or of events (0 or 1)."""

    def __init__(self, events: bool, reference: int) -> None:
        self.events = events
        self.reference = reference
        self._begin(0.0)

    def _begin(self, now: float) -> None:
        self.past = Ranks()
        self.detector = Detector.new(len(self._bets), HEAD_START, now)

    @property
    def _bets(self) -> tuple[str, ...]:
        return EVENTS if self.events else NUMBERS

    def read(
        self, values: np.ndarray, weights: np.ndarray, times: np.ndarray, theta: np.ndarray, limit: float
    ) -> list[Alarm]:
        """Take in observations (n,), the years since the one before (n,), their times (n,) and uniform numbers (n,)."""
        values = rounded(values)
        alarms: list[Alarm] = []
        start = 0
        while start < len(values):
            missing = self.reference - self.past.total
            stop = min(len(values), start + (min(missing, BLOCK) if missing > 0 else BLOCK))
            some = slice(start, stop)
            hit = None if missing > 0 else self._bet(values[some], weights[some], times[some], theta[some], limit)
            if hit is None:
                self.past.add(values[some])
                if missing > 0:
                    self.detector.since[:] = times[stop - 1]
                start = stop
            else:
                won = int(np.argmax(self.detector.totals))
                since = float(self.detector.since[won])
                alarms.append(Alarm(start + hit, since, self._bets[won], self.detector.evidence))
                start += hit + 1
                self._begin(float(times[start - 1]))
        return alarms

    def _bet(
        self, values: np.ndarray, weights: np.ndarray, times: np.ndarray, theta: np.ndarray, limit: float
    ) -> int | None:
        p = self.past.p_values(values, theta)
        if self.events:
            seen = self.past.total + np.arange(len(values))
            happened = self.past.mean * self.past.total + np.r_[0.0, np.cumsum(values)[:-1]]
            log_e = on_events(p, (happened + 0.5) / (seen + 1))
        else:
            log_e = on_numbers(p)
        return self.detector.read(log_e, weights, times, limit)

    def as_dict(self) -> dict[str, Any]:
        """JSON form of the state."""
        kept = {"values": self.past.values, "counts": self.past.counts}
        kept |= {name: getattr(self.detector, name) for name in ("totals", "cusum", "since")}
        return {"events": self.events, "reference": self.reference} | {k: v.tolist() for k, v in kept.items()}

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> "Watch":
        """The state that `as_dict` gave."""
        watch = cls(kept["events"], kept["reference"])
        watch.past = Ranks(np.array(kept["values"]), np.array(kept["counts"], dtype=np.int64))
        watch.detector = Detector(*(np.array(kept[name], dtype=float) for name in ("totals", "cusum", "since")))
        return watch
