"""Sets of rows that have something in common: the hypotheses of the poisoning tests."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RowSets:
    """`rows`: (k,) int32, the sets one after another; `bounds`: (s + 1,) where each begins; `names`: (s,) what its rows
    have in common: a text, or the hash of one."""

    rows: np.ndarray
    bounds: np.ndarray
    names: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """(s,) rows of each set."""
        return np.diff(self.bounds)

    def of(self, k: int) -> np.ndarray:
        """Rows of set k, ascending."""
        return np.sort(self.rows[self.bounds[k] : self.bounds[k + 1]])

    def sums(self, values: np.ndarray) -> np.ndarray:
        """(s,) Σ values over each set."""
        if not len(self.names):
            return np.zeros(0)
        return np.add.reduceat(values[self.rows], self.bounds[:-1], dtype=np.float64)

    def take(self, kept: np.ndarray) -> "RowSets":
        """The sets that `kept` (indices) names."""
        sizes = self.sizes[kept]
        bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        at = np.arange(bounds[-1]) - np.repeat(bounds[:-1] - self.bounds[:-1][kept], sizes)
        return RowSets(self.rows[at], bounds, self.names[kept])


def from_pairs(group: np.ndarray, row: np.ndarray, names: np.ndarray) -> RowSets:
    """Sets from (group, row) pairs sorted by both; repeated pairs count once; groups are 0 … len(names) − 1."""
    new = np.ones(len(group), dtype=bool)
    new[1:] = (group[1:] != group[:-1]) | (row[1:] != row[:-1])
    sizes = np.bincount(group[new], minlength=len(names))
    return RowSets(row[new].astype(np.int32), np.concatenate([[0], np.cumsum(sizes)]), names)


def from_labels(values: Sequence[str | None], least: int) -> RowSets:
    """A set for each value that at least `least` rows have."""
    known = np.array([v is not None for v in values], dtype=bool)
    names, code = np.unique(np.array([v for v in values if v is not None], dtype=str), return_inverse=True)
    rows = np.flatnonzero(known)
    order = np.argsort(code, kind="stable")
    sets = from_pairs(code[order], rows[order], names.astype(object))
    return sets.take(np.flatnonzero(sets.sizes >= least))


def from_flags(flags: np.ndarray, names: Sequence[str], least: int) -> RowSets:
    """A set for each column of `flags` ((n, f) bool) that is true in at least `least` rows."""
    group, row = np.nonzero(flags.T)
    sets = from_pairs(group, row, np.array(names, dtype=object))
    return sets.take(np.flatnonzero(sets.sizes >= least))


def windows(order: np.ndarray, names: Sequence[str], least: int) -> RowSets:
    """Runs of rows in `order` ((n,) row indices), of n/2, n/4, … rows, each half over the one before: any run of w rows
    has one in it of at least w/4. `names`: (n,) what to call each place in the order."""
    n, parts, labels = len(order), [], []
    width = n // 2
    while width >= least:
        for first in range(0, n - width + 1, max(1, width // 2)):
            parts.append(order[first : first + width])
            labels.append(f"{names[first]} … {names[first + width - 1]}")
        width //= 2
    bounds = np.concatenate([[0], np.cumsum([len(p) for p in parts], dtype=np.int64)]).astype(np.int64)
    rows = np.concatenate(parts).astype(np.int32) if parts else np.empty(0, dtype=np.int32)
    return RowSets(rows, bounds, np.array(labels, dtype=object))


def distinct(sets: RowSets, n: int, seed: int, preference: np.ndarray) -> np.ndarray:
    """Indices of sets, one for all that hold the very same rows, since they are one hypothesis: the one that
    `preference` ((s,) floats) puts highest. `n`: rows there are."""
    if not len(sets.names):
        return np.empty(0, dtype=np.int64)
    marks = np.random.default_rng(seed).integers(0, 1 << 62, n).astype(np.uint64)
    key = np.add.reduceat(marks[sets.rows], sets.bounds[:-1])
    order = np.lexsort((-preference, key))
    return np.sort(order[np.append(True, key[order][1:] != key[order][:-1])])
