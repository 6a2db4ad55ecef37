"""Sets of rows that have something in common: the hypotheses of the poisoning tests."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

PART = 1 << 17  # rows of sets that are looked at at once


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
        return self._reduced(values, np.float64)

    def keys(self, marks: np.ndarray) -> np.ndarray:
        """(s,) uint64 sum of the marks of each set's rows: the same for the same rows."""
        return self._reduced(marks, np.uint64)

    def _reduced(self, values: np.ndarray, kind: type[np.generic]) -> np.ndarray:
        out = np.empty(len(self.names), dtype=kind)
        for a, b in self._parts():
            part = slice(self.bounds[a], self.bounds[b])
            out[a:b] = np.add.reduceat(values[self.rows[part]], self.bounds[a:b] - part.start, dtype=kind)
        return out

    def _parts(self) -> Iterator[tuple[int, int]]:
        """(first set, set after the last) of consecutive sets with about PART rows."""
        inner = np.searchsorted(self.bounds, np.arange(PART, self.bounds[-1], PART))
        yield from pairwise(np.unique(np.concatenate([[0], inner, [len(self.names)]])).tolist())

    def take(self, kept: np.ndarray) -> "RowSets":
        """The sets that `kept` (indices) names."""
        sizes = self.sizes[kept]
        bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        chosen = RowSets(np.empty(int(bounds[-1]), dtype=np.int32), bounds, self.names[kept])
        for a, b in chosen._parts():
            at = np.arange(bounds[a], bounds[b]) - np.repeat(bounds[a:b] - self.bounds[:-1][kept[a:b]], sizes[a:b])
            chosen.rows[bounds[a] : bounds[b]] = self.rows[at]
        return chosen


def from_pairs(group: np.ndarray, row: np.ndarray, names: np.ndarray) -> RowSets:
    """Sets from (group, row) pairs sorted by both; repeated pairs count once; groups are 0 … len(names) − 1."""
    new = np.ones(len(group), dtype=bool)
    new[1:] = (group[1:] != group[:-1]) | (row[1:] != row[:-1])
    sizes = np.bincount(group[new], minlength=len(names))
    return RowSets(row[new].astype(np.int32), np.concatenate([[0], np.cumsum(sizes)]), names)


def from_runs(runs: Sequence[tuple[np.ndarray, ...]], names: np.ndarray, least: int) -> RowSets:
    """Sets of at least `least` rows from parts of a table, in order. Of each part: (k,) different sets that it
    has rows of; (k,) how many; and those rows, one set after another."""
    sizes = np.zeros(len(names), dtype=np.int64)
    for group, length, _ in runs:
        sizes[group] += length
    large = sizes >= least
    ends = np.cumsum(np.where(large, sizes, 0))
    rows, filled = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.int32), ends - np.where(large, sizes, 0)
    for group, length, row in runs:
        kept = large[group]
        into, count = filled[group[kept]], length[kept]
        within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        rows[np.repeat(into, count) + within] = row[np.repeat(kept, length)]
        filled[group[kept]] += count
    return RowSets(rows, np.concatenate([[0], ends[large]]), names[large])


def from_codes(code: np.ndarray, names: np.ndarray, least: int) -> RowSets:
    """A set for each of `names` that at least `least` rows have; `code`: (n,) which one each row has, −1 for none."""
    rows = np.argsort(code, kind="stable").astype(np.int32)[int((code < 0).sum()) :]
    sizes = np.bincount(code[rows], minlength=len(names))
    sets = RowSets(rows, np.concatenate([[0], np.cumsum(sizes)]), names)
    return sets.take(np.flatnonzero(sizes >= least))


def from_flags(flags: np.ndarray, names: Sequence[str], least: int) -> RowSets:
    """A set for each column of `flags` ((n, f) bool) that is true in at least `least` rows."""
    rows = [np.flatnonzero(column).astype(np.int32) for column in flags.T]
    kept = [k for k, of in enumerate(rows) if len(of) >= least]
    bounds = np.cumsum([0, *(len(rows[k]) for k in kept)])
    joined = np.concatenate([np.empty(0, dtype=np.int32), *(rows[k] for k in kept)])
    return RowSets(joined, bounds, np.array([names[k] for k in kept], dtype=object))


def windows(order: np.ndarray, name: Callable[[int], str], least: int) -> RowSets:
    """Runs of rows in `order` ((n,) row indices), of n/2, n/4, … rows, each half over the one before: any run of w rows
    has one in it of at least w/4. `name`: what to call a place in the order."""
    n, parts, labels = len(order), [], []
    order = order.astype(np.int32)
    width = n // 2
    while width >= least:
        for first in range(0, n - width + 1, max(1, width // 2)):
            parts.append(order[first : first + width])
            labels.append(f"{name(first)} … {name(first + width - 1)}")
        width //= 2
    bounds = np.concatenate([[0], np.cumsum([len(p) for p in parts], dtype=np.int64)]).astype(np.int64)
    rows = np.concatenate([np.empty(0, dtype=np.int32), *parts])
    return RowSets(rows, bounds, np.array(labels, dtype=object))


def distinct(sets: RowSets, n: int, seed: int, preference: np.ndarray) -> np.ndarray:
    """Indices of sets, one for all that hold the very same rows, since they are one hypothesis: the one that
    `preference` ((s,) floats) puts highest. `n`: rows there are."""
    if not len(sets.names):
        return np.empty(0, dtype=np.int64)
    marks = np.random.default_rng(seed).integers(0, 1 << 62, n).astype(np.uint64)
    key = sets.keys(marks)
    order = np.lexsort((-preference, key))
    return np.sort(order[np.append(True, key[order][1:] != key[order][:-1])])
