"""Phrases that texts have in common, as sets of rows, and whether each is at home where it stands.

A phrase that somebody planted stands in any context; one that people wrote stands in few. Dispersion is the number of
different words before it (and after it; the smaller counts) over the number expected if its places were drawn from the
words of all texts at random, Σ_w 1 − (1 − p_w)ⁿ; an end of a text counts as a context of its own. Cohesion is the
share of its rarest word's places that stand in the phrase: 1 for made-up words that occur together only, low for the
common words that make natural phrases of many contexts ("of the"). A short sentence of its own ("thank you") stands in
any context as well, and opens a sentence wherever it stands. None of this depends on labels, so that it may choose
which hypotheses are tried at which level. O(words log words); phrases are counted in
a table first, and those that may be frequent are looked at a range of hashes at a time, so that 8 bytes stay for each of
their places.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

from tasks.stats.row_sets import RowSets, from_pairs
from tasks.stats.tokens import BASE, Read, mix, ngrams
from tasks.stats.word_table import PART, Words, in_table

TABLE = (16, 28)  # bits of the table that counts phrases before they are told apart, at least and at most
RANGES = 6  # bits of the number of ranges of hashes, at most
GRID = 48  # points at which the expected number of contexts is computed


@dataclass(frozen=True)
class Phrases:
    """`sets`: s sets of rows, named by hash; (s,) each: words of the phrase, its dispersion, its cohesion, and the share
    of its places that are inside a sentence, not at its beginning."""

    sets: RowSets
    words: np.ndarray
    dispersion: np.ndarray
    cohesion: np.ndarray
    inside: np.ndarray


def phrases(tokens: Read, longest: int, least: int) -> Phrases:
    """The phrases of 1 to `longest` words on at least `least` rows."""
    words = in_table(tokens)
    contexts = _Contexts(words)
    found = [
        _among(words, n, first, row, least, contexts)
        for n in range(1, longest + 1)
        for first, row in _frequent(words, n, least)
    ]
    sets = [f.sets for f in found]
    bounds = np.concatenate([[0], np.cumsum(np.concatenate([s.sizes for s in sets]))])
    joined = RowSets(np.concatenate([s.rows for s in sets]), bounds, np.concatenate([s.names for s in sets]))
    rest = (field.name for field in fields(Phrases)[1:])
    return Phrases(joined, *(np.concatenate([getattr(f, name) for f in found]) for name in rest))


class _Contexts:
    """What stands beside a place; how often each word occurs; how many different words are to be expected."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self.count, t = words.count(), max(1, len(words.codes))
        share = self.count[self.count > 0] / t
        self.grid = np.unique(np.geomspace(1, max(2, t), GRID).astype(int))
        self.expected = np.array([-np.expm1(n * np.log1p(-np.minimum(share, 1 - 1e-9))).sum() for n in self.grid])

    def expect(self, n: np.ndarray) -> np.ndarray:
        """Different words expected in n draws from all words."""
        return np.exp(np.interp(np.log(n), np.log(self.grid), np.log(np.maximum(self.expected, 1e-9))))

    def before(self, place: np.ndarray, row: np.ndarray) -> np.ndarray:
        """(p,) uint64 hash of the word before each place; the beginning of a text differs from every other."""
        inner = place > self._words.bounds[row]
        return self._beside(place, np.where(inner, place - 1, 0), inner)

    def after(self, place: np.ndarray, row: np.ndarray) -> np.ndarray:
        """(p,) uint64 hash of the word after each place, likewise."""
        inner = place + 1 < self._words.bounds[row + 1]
        return self._beside(place, np.where(inner, place + 1, 0), inner)

    def _beside(self, place: np.ndarray, other: np.ndarray, inner: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._words.vocabulary[self._words.codes[other] >> np.uint32(1)]
        found[~inner] = mix(place[~inner].astype(np.uint64) + np.uint64(1))
        return found


def _frequent(words: Words, n: int, least: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """((p,) uint32 first words, (p,) int32 texts) of the runs of n words that may be on `least` rows; those of a range of
    hashes at a time, in the order of the hashes."""
    bits = int(np.clip(len(words.codes).bit_length(), *TABLE))
    count = np.zeros(1 << bits, dtype=np.int32)
    for _, part in words.parts():
        np.add.at(count, _top(ngrams(part, n)[0], bits), np.int32(1))
    enough = count >= least
    depth = min(int(count[enough].sum(dtype=np.int64) // PART).bit_length(), RANGES)
    del count
    found: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(1 << depth)]
    for text, part in words.parts():
        hashes, row = ngrams(part, n)
        kept = np.flatnonzero(enough[_top(hashes, bits)])
        kept = kept[np.argsort(_top(hashes[kept], depth).astype(np.uint16), kind="stable")]
        first = (_first_words(part, n)[kept] + words.bounds[text]).astype(np.uint32)
        ends = np.searchsorted(_top(hashes[kept], depth), np.arange(1, 1 << depth))
        for k, one in enumerate(zip(np.split(first, ends), np.split(row[kept] + np.int32(text), ends), strict=True)):
            found[k].append(one)
    for k, pieces in enumerate(found):
        found[k] = []
        if pieces:
            yield np.concatenate([first for first, _ in pieces]), np.concatenate([row for _, row in pieces])


def _top(hashes: np.ndarray, bits: int) -> np.ndarray:
    return (hashes >> np.uint64(64 - bits)).astype(np.int64) if bits else np.zeros(len(hashes), dtype=np.int64)


def _among(words: Words, n: int, first: np.ndarray, row: np.ndarray, least: int, contexts: _Contexts) -> Phrases:
    """The phrases at the places `first`."""
    first = first.astype(np.int64)
    names, group = _numbered(_hashes_at(words, first, n))
    order = np.argsort(group, kind="stable")  # rows stay ascending within a phrase
    row, first = row[order], first[order]
    occurrences = np.bincount(group, minlength=len(names))
    starts = np.cumsum(occurrences) - occurrences
    group = np.repeat(np.arange(len(names)), occurrences)
    sets = from_pairs(group, row, names)
    kept = np.flatnonzero(sets.sizes >= least)
    wanted = (sets.sizes >= least)[group]
    sets, one, occurrences = sets.take(kept), first[starts[kept]], occurrences[kept]
    group, row, first = np.repeat(np.arange(len(kept)), occurrences), row[wanted], first[wanted]
    different = [
        np.bincount(_unique_pairs(group, side), minlength=len(kept))
        for side in (contexts.before(first, row), contexts.after(first + n - 1, row))
    ]
    spread = np.minimum(*different) / contexts.expect(occurrences) if len(kept) else np.zeros(0)
    rarest = np.min([contexts.count[words.codes[one + k] >> np.uint32(1)] for k in range(n)], axis=0)
    inside = np.bincount(group[words.codes[first] & np.uint32(1) == 0], minlength=len(kept)) / occurrences
    return Phrases(sets, np.full(len(kept), n), spread, occurrences / rarest, inside)


def _hashes_at(words: Words, first: np.ndarray, n: int) -> np.ndarray:
    """(p,) uint64: what `ngrams` gives for the run of n words at each place."""
    combined = mix(words.vocabulary[words.codes[first] >> np.uint32(1)] + np.uint64(n))
    for k in range(1, n):
        combined *= np.uint64(BASE)
        combined += words.vocabulary[words.codes[first + k] >> np.uint32(1)]
    return mix(combined)


def _first_words(tokens: Read, n: int) -> np.ndarray:
    rows = tokens.rows()
    last = max(0, len(rows) - n + 1)
    return np.flatnonzero(rows[:last] == rows[n - 1 :])


def _numbered(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((d,) different hashes, ascending, (p,) place of each among them, of a type as small as can be: numpy sorts 16 bits
    without comparing)."""
    coded = pa.array(hashes).dictionary_encode()
    found = coded.dictionary.to_numpy()
    names = np.sort(found)
    place = np.searchsorted(names, found).astype(np.min_scalar_type(len(names)))
    return names, place[coded.indices.to_numpy()]


def _unique_pairs(group: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The group of each different (group, value)."""
    key = group.astype(np.uint64) << np.uint64(32) | (value >> np.uint64(32))
    return (pa.array(key).unique().to_numpy() >> np.uint64(32)).astype(np.int64)
