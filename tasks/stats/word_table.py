"""Words of a whole table at four bytes a word: places in a vocabulary of 64-bit hashes.

Texts come in parts; each part's words are numbered by a hash table, and the numbers of all parts are brought together
in one vocabulary in the order of the hashes, so that whoever sorts by number sorts by hash. O(words + different words
log different words).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from tasks.stats.tokens import Read, Tokens, joined

PART = 1 << 17  # words worked on at once: bounds the memory of what is done to all of them


@dataclass(frozen=True)
class Words:
    """Words of n texts, in order, with the fields of `Tokens` made as they are asked for.

    `codes`: (t,) uint32, twice the place in `vocabulary`, and 1 more if the word is the first of a sentence; `bounds`:
    (n + 1,) int64; `vocabulary`: (v,) uint64 hashes, ascending.
    """

    codes: np.ndarray
    bounds: np.ndarray
    vocabulary: np.ndarray

    @property
    def hashes(self) -> np.ndarray:
        """(t,) uint64."""
        hashes: np.ndarray = self.vocabulary[self.codes >> np.uint32(1)]
        return hashes

    @property
    def opens(self) -> np.ndarray:
        """(t,) bool."""
        return (self.codes & np.uint32(1)).astype(bool)

    def rows(self) -> np.ndarray:
        """(t,) int32: the text of each word."""
        return np.repeat(np.arange(len(self.bounds) - 1, dtype=np.int32), np.diff(self.bounds))

    def take(self, kept: np.ndarray) -> "Words":
        """The texts that `kept` (ascending indices) names."""
        sizes = np.diff(self.bounds)[kept]
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        codes = np.empty(int(bounds[-1]), dtype=np.uint32)
        for a, b in pairwise(_edges(bounds)):
            at = np.arange(bounds[a], bounds[b]) + np.repeat(self.bounds[kept[a:b]] - bounds[a:b], sizes[a:b])
            codes[bounds[a] : bounds[b]] = self.codes[at]
        return Words(codes, bounds, self.vocabulary)

    def parts(self) -> Iterator[tuple[int, "Words"]]:
        """(its first text, part) of consecutive texts with about PART words."""
        for a, b in pairwise(_edges(self.bounds)):
            first, end = self.bounds[a], self.bounds[b]
            yield a, Words(self.codes[first:end], self.bounds[a : b + 1] - first, self.vocabulary)

    def count(self) -> np.ndarray:
        """(v,) int64: how often each word of the vocabulary occurs."""
        out = np.zeros(len(self.vocabulary), dtype=np.int64)
        for _, part in self.parts():
            out += np.bincount(part.codes >> np.uint32(1), minlength=len(out))
        return out


@dataclass(frozen=True)
class Beside:
    """Texts made of the i-th text of every part, one after another, put together as they are asked for."""

    columns: tuple[Words, ...]

    @property
    def bounds(self) -> np.ndarray:
        """(n + 1,) int64."""
        bounds: np.ndarray = np.sum([c.bounds for c in self.columns], axis=0)
        return bounds

    def take(self, kept: np.ndarray) -> Tokens:
        """The texts that `kept` (ascending indices) names."""
        return joined(*(c.take(kept) for c in self.columns))


class WordTable:
    """Words of texts that come in parts."""

    def __init__(self) -> None:
        self._codes: list[np.ndarray] = []
        self._sizes: list[np.ndarray] = [np.zeros(1, dtype=np.int64)]
        self._names: list[np.ndarray] = []

    def add(self, tokens: Read) -> None:
        """The next texts."""
        coded = pa.array(tokens.hashes).dictionary_encode()
        self._names.append(coded.dictionary.to_numpy())
        self._codes.append(coded.indices.to_numpy().astype(np.uint32) << np.uint32(1) | tokens.opens)
        self._sizes.append(np.diff(tokens.bounds))

    def words(self) -> Words:
        """All of them, once: the parts are let go."""
        vocabulary = np.unique(np.concatenate([np.empty(0, dtype=np.uint64), *self._names]))
        codes, filled = np.empty(sum(map(len, self._codes)), dtype=np.uint32), 0
        for k, names in enumerate(self._names):
            part, self._codes[k] = self._codes[k], np.empty(0, dtype=np.uint32)
            place = np.searchsorted(vocabulary, names).astype(np.uint32) << np.uint32(1)
            codes[filled : filled + len(part)] = place[part >> np.uint32(1)] | part & np.uint32(1)
            filled += len(part)
        bounds = np.cumsum(np.concatenate(self._sizes))
        return Words(codes, bounds, vocabulary)


def in_table(tokens: Read) -> Words:
    """The same words as a table."""
    if isinstance(tokens, Words):
        return tokens
    table = WordTable()
    table.add(tokens)
    return table.words()


def _edges(bounds: np.ndarray) -> np.ndarray:
    """Texts at which parts of about PART words begin, and the number of texts."""
    inner = np.searchsorted(bounds, np.arange(PART, bounds[-1], PART), side="right") - 1
    return np.unique(np.concatenate([[0], inner, [len(bounds) - 1]])).astype(np.int64)
