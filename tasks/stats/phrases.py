"""Phrases that texts have in common, as sets of rows, and whether each is at home where it stands.

A phrase that somebody planted stands in any context; one that people wrote stands in few. Dispersion is the number of
different words before it (and after it; the smaller counts) over the number expected if its places were drawn from the
words of all texts at random, Σ_w 1 − (1 − p_w)ⁿ; an end of a text counts as a context of its own. Cohesion is the
share of its rarest word's places that stand in the phrase: 1 for made-up words that occur together only, low for the
common words that make natural phrases of many contexts ("of the"). A short sentence of its own ("thank you") stands in
any context as well, and opens a sentence wherever it stands. None of this depends on labels, so that it may choose
which hypotheses are tried at which level. O(words log words).
"""

from dataclasses import dataclass

import numpy as np

from tasks.stats.row_sets import RowSets, from_pairs
from tasks.stats.tokens import Tokens, mix, ngrams

TABLE = 24  # bits of the table that counts phrases before they are told apart
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


def phrases(tokens: Tokens, longest: int, least: int) -> Phrases:
    """The phrases of 1 to `longest` words on at least `least` rows."""
    contexts = _Contexts(tokens)
    found = [_of_length(tokens, n, least, contexts) for n in range(1, longest + 1)]
    sets = [f.sets for f in found]
    bounds = np.concatenate([[0], np.cumsum(np.concatenate([s.sizes for s in sets]))])
    joined = RowSets(np.concatenate([s.rows for s in sets]), bounds, np.concatenate([s.names for s in sets]))
    return Phrases(
        joined, *(np.concatenate([getattr(f, k) for f in found]) for k in ("words", "dispersion", "cohesion", "inside"))
    )


class _Contexts:
    """Hash of the word before and after each word; an end of a text differs from every other. How often each occurs."""

    def __init__(self, tokens: Tokens) -> None:
        t = len(tokens.hashes)
        ends = mix(np.arange(t, dtype=np.uint64) + np.uint64(1))
        self.before, self.after = ends.copy(), ends
        self.before[1:] = tokens.hashes[:-1]
        self.after[:-1] = tokens.hashes[1:]
        first = tokens.bounds[:-1][np.diff(tokens.bounds) > 0]
        self.before[first] = mix(first.astype(np.uint64) + np.uint64(1))
        last = tokens.bounds[1:][np.diff(tokens.bounds) > 0] - 1
        self.after[last] = mix(last.astype(np.uint64) + np.uint64(1))
        order = np.argsort(tokens.hashes)
        _, counts = _runs(tokens.hashes[order])
        self.count = np.empty(t, dtype=np.int32)
        self.count[order] = np.repeat(counts, counts)
        share = counts / max(1, t)
        self.grid = np.unique(np.geomspace(1, max(2, t), GRID).astype(int))
        self.expected = np.array([-np.expm1(n * np.log1p(-np.minimum(share, 1 - 1e-9))).sum() for n in self.grid])

    def expect(self, n: np.ndarray) -> np.ndarray:
        """Different words expected in n draws from all words."""
        return np.exp(np.interp(np.log(n), np.log(self.grid), np.log(np.maximum(self.expected, 1e-9))))


def _of_length(tokens: Tokens, n: int, least: int, contexts: _Contexts) -> Phrases:
    hashes, row = ngrams(tokens, n)
    first = np.arange(len(hashes)) if n == 1 else _first_words(tokens, n)
    bucket = (hashes >> np.uint64(64 - TABLE)).astype(np.int32)
    frequent = np.bincount(bucket, minlength=1 << TABLE)[bucket] >= least
    hashes, row, first = hashes[frequent], row[frequent], first[frequent]
    order = np.argsort(hashes, kind="stable")  # rows stay ascending within a phrase
    hashes, row, first = hashes[order], row[order], first[order]
    starts, occurrences = _runs(hashes)
    group = np.repeat(np.arange(len(starts)), occurrences)
    sets = from_pairs(group, row, hashes[starts])
    kept = np.flatnonzero(sets.sizes >= least)
    different = [
        np.bincount(_unique_pairs(group, side[at]), minlength=len(starts))[kept]
        for side, at in ((contexts.before, first), (contexts.after, first + n - 1))
    ]
    spread = np.minimum(*different) / contexts.expect(occurrences[kept]) if len(kept) else np.zeros(0)
    one = first[starts[kept]]
    rarest = np.min([contexts.count[one + k] for k in range(n)], axis=0)
    inside = np.bincount(group[~tokens.opens[first]], minlength=len(starts))[kept] / occurrences[kept]
    words = np.full(len(kept), n)
    return Phrases(sets.take(kept), words, spread, occurrences[kept] / rarest, inside)


def _first_words(tokens: Tokens, n: int) -> np.ndarray:
    rows = tokens.rows()
    last = max(0, len(rows) - n + 1)
    return np.flatnonzero(rows[:last] == rows[n - 1 :])


def _unique_pairs(group: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The group of each different (group, value)."""
    key = np.sort(group.astype(np.uint64) << np.uint64(32) | (value >> np.uint64(32)))
    starts, _ = _runs(key)
    return (key[starts] >> np.uint64(32)).astype(np.int64)


def _runs(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(start, length) of runs of equal values."""
    if not len(ordered):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    return starts, np.diff(np.append(starts, len(ordered)))
