"""How sentences are built, whatever they speak of: orders of frequent words with other words between them.

The words that a file has most of are taken for its function words, so that no language is presumed. A frame is a run
of two or three of them in one sentence, other words between them passed over: "if … you … how". Frames without a gap
are phrases, and left to those. After the syntactic templates of Qi et al. (2021). O(words).
"""

from collections.abc import Sequence

import numpy as np

from tasks.stats.row_sets import RowSets, from_runs
from tasks.stats.tokens import Read, mix, spelled
from tasks.stats.word_table import Words, in_table

FUNCTION_WORDS = 64  # at most
OFTEN = 0.05  # occurrences in a text, on average, without which a word is no function word
LONGEST = 3  # function words of a frame
BITS = 8  # of a code: a function word, and whether others stand before it


def frame_sets(texts: Sequence[str], tokens: Read, least: int) -> RowSets:
    """Sets of at least `least` rows, named by the frame."""
    table = in_table(tokens)
    code, n = _function_words(table, len(texts))
    runs, seen = [], np.full(n, -1, dtype=np.int64)
    for text, part in table.parts():
        key, row = _frames(part, code, seen, text)
        starts = np.flatnonzero(np.append(True, key[1:] != key[:-1])[: len(key)])
        runs.append((key[starts], np.diff(np.append(starts, len(key))), row + np.int32(text)))
    names = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *(keys for keys, _, _ in runs)]))
    sets = from_runs([(np.searchsorted(names, keys), *rest) for keys, *rest in runs], names, least)
    hashes = np.empty(n, dtype=np.uint64)
    hashes[code[code > 0] - 1] = _alone(table.vocabulary[code > 0])
    words = [spelled(texts[int(row)], name, 1) for row, name in zip(seen, hashes, strict=True)]
    return RowSets(sets.rows, sets.bounds, np.array([_name(int(k), words) for k in sets.names], dtype=object))


def _function_words(table: Words, texts: int) -> tuple[np.ndarray, int]:
    """((v,) uint8: number of each word of the vocabulary among the function words, from 1, or 0; how many there are)."""
    order = np.argsort(_alone(table.vocabulary))
    count = table.count()[order]
    first = np.sort(np.argsort(-count, kind="stable")[:FUNCTION_WORDS])
    first = first[(count[first] >= OFTEN * texts) & (count[first] > 0)]
    code = np.zeros(len(order), dtype=np.uint8)
    code[order[first]] = np.arange(1, len(first) + 1)
    return code, len(first)


def _alone(hashes: np.ndarray) -> np.ndarray:
    """What `ngrams` gives for runs of one word."""
    return mix(mix(hashes + np.uint64(1)))


def _frames(part: Words, code: np.ndarray, seen: np.ndarray, text: int) -> tuple[np.ndarray, np.ndarray]:
    """((f,) int64 frames, ascending, (f,) int32 texts) of a part of the table that begins with `text`, once for each text;
    fills in where a function word is `seen` first."""
    numbers = code[part.codes >> np.uint32(1)]
    at = np.flatnonzero(numbers)
    sentence, row, number = np.cumsum(part.opens)[at], part.rows()[at], numbers[at].astype(np.int64)
    new, first = np.unique(number - 1, return_index=True)
    unseen = seen[new] < 0
    seen[new[unseen]] = row[first[unseen]] + text
    gap = np.append(0, np.diff(at) > 1)
    found = []
    for n in range(2, LONGEST + 1):
        last = max(0, len(at) - n + 1)
        key, gaps = number[:last], np.zeros(last, dtype=bool)
        for k in range(1, n):
            key = key << BITS | gap[k : last + k] << (BITS - 1) | number[k : last + k]
            gaps |= gap[k : last + k] > 0
        whole = gaps & (sentence[:last] == sentence[n - 1 :])
        found.append(key[whole] << 32 | row[:last][whole])
    both = np.unique(np.concatenate(found))
    return both >> 32, (both & 0xFFFFFFFF).astype(np.int32)


def _name(key: int, words: list[str]) -> str:
    parts: list[str] = []
    while key:
        code = key & ((1 << BITS) - 1)
        parts.append(("… " if code >> (BITS - 1) else "") + words[(code & ((1 << (BITS - 1)) - 1)) - 1])
        key >>= BITS
    return " ".join(reversed(parts))
