"""Whether figures keep their bounds: a family of one-sided tests, and how many items an undecided one would need.

For a figure m with standard error s and a bound b, z = (m − b)/s (turned round for an upper bound) tests both ways:
that the bound is broken (rejected: it is kept) and that it is kept (rejected: it is broken). Each way is corrected over
the family by Holm (1979); no figure can be rejected both ways, so both keep the level. Undecided figures would need
n · ((z_{α/m} + z_power) · s / |m − b|)² items to be decided with the given power, if m is where the truth is.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from tasks.stats.false_discovery import holm

KEPT, BROKEN, UNDECIDED = "kept", "broken", "undecided"


@dataclass(frozen=True)
class Figure:
    """A measured figure with its interval at `level` and `n` items, and the bound on one side of it."""

    value: float
    low: float
    high: float
    level: float
    n: int
    bound: float
    at_least: bool

    @property
    def z(self) -> float:
        """Standard errors by which the bound is kept; the interval's side towards the bound gives the error."""
        distance = self.value - self.bound if self.at_least else self.bound - self.value
        return distance / self.error if self.error > 0 else math.copysign(math.inf, distance) if distance else 0.0

    @property
    def error(self) -> float:
        """Standard error; of a figure without spread that of one more item that differs."""
        kept = self.value > self.bound if self.at_least else self.value < self.bound
        towards_low = kept == self.at_least
        half = self.value - self.low if towards_low else self.high - self.value
        return float(half / norm.ppf(0.5 + self.level / 2))


@dataclass(frozen=True)
class Decision:
    """`verdict` of a figure, the p-value that its bound is broken, and the items needed where it is undecided (None
    where no number would do: the figure lies on its bound)."""

    verdict: str
    p_value: float
    needed: int | None


def decide(figures: list[Figure], level: float, power: float) -> list[Decision]:
    """Decide a family at family-wise `level`."""
    z = np.array([f.z for f in figures], dtype=float)
    broken_p, kept_p = norm.sf(z), norm.cdf(z)
    kept, broken = holm(broken_p, level), holm(kept_p, level)
    strict = norm.isf(level / max(1, len(figures))) + norm.isf(1 - power)
    decisions = []
    for i, figure in enumerate(figures):
        verdict = KEPT if kept[i] else BROKEN if broken[i] else UNDECIDED
        needed = None
        if verdict == UNDECIDED and z[i] != 0:
            needed = max(figure.n + 1, math.ceil(figure.n * (strict / abs(z[i])) ** 2))
        decisions.append(Decision(verdict, float(broken_p[i]), needed))
    return decisions
