"""Words of many texts as 64-bit hashes, in a few passes over their bytes.

A word's hash is the polynomial Σ byte·B^position modulo 2⁶⁴ (Karp and Rabin 1987), read off prefix sums, then mixed
(the finaliser of MurmurHash3). No vocabulary is kept: what a hash stands for is read back from a text that holds it.
O(bytes) time; 9 bytes a word are kept.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

CHUNK = 1 << 15  # bytes hashed at once: their prefix sums, eight times as large, stay in a core's cache
BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2⁶⁴
INVERSE = pow(BASE, -1, 1 << 64)
LETTERS = (*range(0x30, 0x3A), *range(0x41, 0x5B), *range(0x61, 0x7B), 0x5F, *range(0x80, 0x100))
WORD = bytes(k in LETTERS for k in range(256))  # bytes of words: letters, digits, and all of UTF-8 beyond ASCII
STOP = bytes(k in b".!?\n" for k in range(256))  # bytes that end a sentence
GENERAL_PUNCTUATION = (0xE2, 0x80)  # U+2000–U+203F: spaces, dashes, quotes and invisible marks end a word


class Readable(Protocol):
    """Texts whose words can be had a few texts at a time; `bounds` as in `Tokens`."""

    @property
    def bounds(self) -> np.ndarray: ...  # noqa: D102

    def take(self, kept: np.ndarray) -> "Read": ...  # noqa: D102


class Read(Readable, Protocol):
    """Texts whose words are at hand; as in `Tokens`."""

    @property
    def hashes(self) -> np.ndarray: ...  # noqa: D102

    @property
    def opens(self) -> np.ndarray: ...  # noqa: D102

    def rows(self) -> np.ndarray: ...  # noqa: D102


@dataclass(frozen=True)
class Tokens:
    """Words of n texts, in order.

    `hashes`: (t,) uint64; `bounds`: (n + 1,) int64, text i has the words bounds[i] … bounds[i + 1] − 1; `opens`: (t,)
    bool, the word is the first of a sentence. `start`, `end`: (t,) bytes in the texts joined, if asked for.
    """

    hashes: np.ndarray
    bounds: np.ndarray
    opens: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def take(self, kept: np.ndarray) -> "Tokens":
        """The texts that `kept` (ascending indices) names."""
        sizes = np.diff(self.bounds)[kept]
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        at = np.arange(bounds[-1]) + np.repeat(self.bounds[:-1][kept] - bounds[:-1], sizes)
        return Tokens(self.hashes[at], bounds, self.opens[at], self.start[:0], self.end[:0])

    def rows(self) -> np.ndarray:
        """(t,) int32: the text of each word."""
        return np.repeat(np.arange(len(self.bounds) - 1, dtype=np.int32), np.diff(self.bounds))


def tokenize(texts: list[str], *, places: bool = False) -> Tokens:
    """Words of the texts, without regard to case; `places` keeps where in the joined text each is."""
    encoded = [t.lower().encode("utf-8", "replace") for t in texts]
    length = np.fromiter(map(len, encoded), np.int64, len(encoded))
    total = np.cumsum(length)
    edges = np.unique([0, *np.searchsorted(total, np.arange(CHUNK, total[-1] if len(total) else 0, CHUNK)), len(texts)])
    longest = max((int(length[a:b].sum()) for a, b in pairwise(edges)), default=0)
    powers = _powers(BASE, longest), _powers(INVERSE, longest)
    parts, base = [_tokenize(b"", length[:0], powers)], 0
    for low, high in pairwise(edges):
        part = _tokenize(b"".join(encoded[low:high]), length[low:high], powers)
        kept = slice(None) if places else slice(0)
        parts.append(Tokens(part.hashes, part.bounds, part.opens, part.start[kept] + base, part.end[kept] + base))
        base += int(length[low:high].sum())
    counts = np.concatenate([np.diff(p.bounds) for p in parts])
    joined = {k: np.concatenate([getattr(p, k) for p in parts]) for k in ("hashes", "opens", "start", "end")}
    return Tokens(bounds=np.concatenate([[0], np.cumsum(counts)]), **joined)


def joined(*parts: Read) -> Tokens:
    """Texts made of the i-th text of every part, one after another."""
    bounds = np.sum([p.bounds for p in parts], axis=0)
    hashes, opens = np.empty(bounds[-1], dtype=np.uint64), np.empty(bounds[-1], dtype=bool)
    place = bounds[:-1].copy()  # of the next word of each text
    for part in parts:
        sizes = np.diff(part.bounds)
        at = np.repeat(place - part.bounds[:-1], sizes) + np.arange(int(part.bounds[-1]))
        hashes[at], opens[at] = part.hashes, part.opens
        place += sizes
    nowhere = np.empty(0, dtype=np.int64)
    return Tokens(hashes, bounds, opens, nowhere, nowhere)


def _tokenize(joined: bytes, length: np.ndarray, powers: tuple[np.ndarray, np.ndarray]) -> Tokens:
    ends_of_texts = np.cumsum(length)
    starts, ends = _word_bounds(joined, ends_of_texts[:-1])
    bounds = np.concatenate([[0], np.searchsorted(starts, ends_of_texts)])
    opens = np.zeros(len(starts) + 1, dtype=bool)
    stops = np.flatnonzero(np.frombuffer(joined.translate(STOP), dtype=bool))
    opens[np.searchsorted(starts, stops)] = True  # the word after a stop
    opens[bounds[:-1]] = True
    hashes = _hashes(np.frombuffer(joined, dtype=np.uint8), starts, ends, powers)
    return Tokens(mix(hashes), bounds, opens[:-1], starts, ends)


def _word_bounds(joined: bytes, cuts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(t,) first byte and (t,) byte after the last of each word; no word goes over a cut between texts."""
    buffer = np.frombuffer(joined, dtype=np.uint8)
    inside = np.zeros(len(buffer) + 2, dtype=bool)
    inside[1:-1] = np.frombuffer(joined.translate(WORD), dtype=bool)
    marks = np.flatnonzero(buffer[:-2] == GENERAL_PUNCTUATION[0])
    marks = marks[buffer[marks + 1] == GENERAL_PUNCTUATION[1]]
    for k in (1, 2, 3):
        inside[marks + k] = False
    edges = inside[1:] != inside[:-1]
    begins, finishes = edges & inside[1:], edges & inside[:-1]
    cuts = cuts[(cuts > 0) & (cuts < len(buffer))]
    inner = cuts[inside[cuts] & inside[cuts + 1]]
    begins[inner] = finishes[inner] = True
    return np.flatnonzero(begins), np.flatnonzero(finishes)


def _hashes(
    buffer: np.ndarray, starts: np.ndarray, ends: np.ndarray, powers: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """(t,) uint64 polynomial hash of each word; the offset of a word in the buffer is divided out."""
    terms = np.add(buffer, 1, dtype=np.uint64)
    terms *= powers[0][: len(buffer)]
    prefix = np.zeros(len(buffer) + 1, dtype=np.uint64)
    np.cumsum(terms, out=prefix[1:])
    return (prefix[ends] - prefix[starts]) * powers[1][starts]


def _powers(base: int, n: int) -> np.ndarray:
    """(n,) uint64: base⁰ … baseⁿ⁻¹ modulo 2⁶⁴."""
    factors = np.full(n, base, dtype=np.uint64)
    factors[:1] = 1
    return np.cumprod(factors)


def mix(values: np.ndarray) -> np.ndarray:
    """uint64 hashes whose every bit depends on every bit of `values` (fmix64 of MurmurHash3)."""
    out = values ^ (values >> np.uint64(33))
    out *= np.uint64(0xFF51AFD7ED558CCD)
    out ^= out >> np.uint64(33)
    out *= np.uint64(0xC4CEB9FE1A85EC53)
    out ^= out >> np.uint64(33)
    return out


def ngrams(tokens: Read, n: int) -> tuple[np.ndarray, np.ndarray]:
    """((g,) uint64 hashes, (g,) int32 text) of all runs of n words within one text; a hash names its n."""
    rows, hashes = tokens.rows(), tokens.hashes
    last = max(0, len(rows) - n + 1)
    combined = mix(hashes[:last] + np.uint64(n))
    for k in range(1, n):
        combined *= np.uint64(BASE)
        combined += hashes[k : last + k]
    whole = rows[:last] == rows[n - 1 :] if n > 1 else np.ones(last, dtype=bool)
    return mix(combined[whole]), rows[:last][whole]


def sentences(tokens: Read, least: int) -> tuple[np.ndarray, np.ndarray]:
    """((s,) uint64 hashes, (s,) int32 text) of the sentences of at least `least` words."""
    first, hashes = np.flatnonzero(tokens.opens), tokens.hashes
    if not len(first):
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int32)
    length = np.diff(np.append(first, len(hashes)))
    place = (np.arange(len(hashes)) - np.repeat(first, length)).astype(np.uint64)
    total = mix(np.add.reduceat(mix(hashes + place), first))
    return total[length >= least], tokens.rows()[first][length >= least]


def spelled(text: str, name: np.uint64, words: int) -> str:
    """The run of `words` words of `text` with hash `name`; words = 0 means a sentence; "" if there is none."""
    tokens = tokenize([text], places=True)
    if words:
        at = np.flatnonzero(ngrams(tokens, words)[0] == name)
        ends = at + words
    else:
        first = np.flatnonzero(tokens.opens)
        k = np.flatnonzero(sentences(tokens, 1)[0] == name)
        at, ends = first[k], np.append(first, len(tokens.hashes))[k + 1]
    if not len(at):
        return ""
    data = text.lower().encode("utf-8", "replace")
    found = data[tokens.start[at[0]] : tokens.end[ends[0] - 1]].decode("utf-8", "replace")
    tail = data[tokens.end[ends[0] - 1] :].decode("utf-8", "replace").split(maxsplit=1)
    return found + (tail[0] if not words and tail and not tail[0][0].isalnum() else "")
