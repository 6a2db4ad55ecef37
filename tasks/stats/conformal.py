"""Online conformal p-values: where each new value stands among all before it.

With θ uniform on (0, 1) and n − 1 values seen before the n-th,

    p_n = (#{i < n: x_i > x_n} + θ_n (#{i < n: x_i = x_n} + 1)) / n

If the values are exchangeable, p_1, p_2, … are independent and uniform, whatever the distribution, however few values
there are, with ties or without (Vovk, Nouretdinov and Gammerman 2003, Testing Exchangeability On-Line; Vovk, Gammerman
and Shafer 2005). So no mean and no variance has to be estimated from a reference, whose error a stream of a year would
show as drift. Small p: larger than before. O(distinct values) memory.
"""

import numpy as np


class Ranks:
    """Counts of the values seen so far."""

    def __init__(self, values: np.ndarray | None = None, counts: np.ndarray | None = None) -> None:
        self.values = np.empty(0) if values is None else np.asarray(values, dtype=np.float64)
        self.counts = np.empty(0, dtype=np.int64) if counts is None else np.asarray(counts, dtype=np.int64)

    @property
    def total(self) -> int:
        """Values seen."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """Mean of the values seen; NaN if there are none."""
        return float(self.values @ self.counts / self.total) if self.total else float("nan")

    def add(self, values: np.ndarray) -> None:
        """Take values in."""
        new, counts = np.unique(values, return_counts=True)
        merged = np.union1d(self.values, new)
        total = np.zeros(len(merged), dtype=np.int64)
        total[np.searchsorted(merged, self.values)] += self.counts
        total[np.searchsorted(merged, new)] += counts
        self.values, self.counts = merged, total

    def p_values(self, values: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """(n,) p-values of `values` (n,), each among those seen and those before it in `values`; nothing is taken in.

        `theta`: (n,) independent uniform numbers. O(n²) in a block, so keep blocks to a few hundred."""
        before = np.r_[0, np.cumsum(self.counts)]
        left, right = (np.searchsorted(self.values, values, side=s) for s in ("left", "right"))
        above, equal = before[-1] - before[right], before[right] - before[left]
        earlier = np.tri(len(values), k=-1, dtype=bool)
        above = above + ((values[None, :] > values[:, None]) & earlier).sum(1)
        equal = equal + ((values[None, :] == values[:, None]) & earlier).sum(1)
        n = before[-1] + 1 + np.arange(len(values))
        return np.asarray((above + theta * (equal + 1)) / n)


def rounded(values: np.ndarray) -> np.ndarray:
    """Values to three significant digits, so that few are distinct. A fixed rule, so it leaves p-values valid."""
    values = np.asarray(values, dtype=np.float64)
    with np.errstate(divide="ignore"):
        digits = np.floor(np.log10(np.abs(values))) - 2
    scale = np.power(10.0, np.where(np.isfinite(digits), digits, 0.0))
    return np.asarray(np.round(values / scale) * scale)
