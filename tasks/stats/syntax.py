"""How sentences are built, whatever they speak of: orders of frequent words with other words between them.

The words that a file has most of are taken for its function words, so that no language is presumed. A frame is a run
of two or three of them in one sentence, other words between them passed over: "if … you … how". Frames without a gap
are phrases, and left to those. After the syntactic templates of Qi et al. (2021). O(words).
"""

import numpy as np

from tasks.stats.row_sets import RowSets, from_pairs
from tasks.stats.tokens import Tokens, ngrams, spelled

FUNCTION_WORDS = 64  # at most
OFTEN = 0.05  # occurrences in a text, on average, without which a word is no function word
LONGEST = 3  # function words of a frame
BITS = 8  # of a code: a function word, and whether others stand before it


def frame_sets(texts: list[str], tokens: Tokens, least: int) -> RowSets:
    """Sets of at least `least` rows, named by the frame."""
    hashes, _ = ngrams(tokens, 1)
    names, count = np.unique(hashes, return_counts=True)
    first = np.sort(np.argsort(-count, kind="stable")[:FUNCTION_WORDS])
    frequent = names[first][count[first] >= OFTEN * len(texts)]
    if not len(frequent):
        return from_pairs(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, object))
    code = np.searchsorted(frequent, hashes).clip(max=len(frequent) - 1)
    at = np.flatnonzero(frequent[code] == hashes)
    sentence, row, code = np.cumsum(tokens.opens)[at], tokens.rows()[at], code[at] + 1
    gap = np.append(0, np.diff(at) > 1)
    keys, rows = [], []
    for n in range(2, LONGEST + 1):
        last = max(0, len(at) - n + 1)
        key, gaps = code[:last].astype(np.int64), np.zeros(last, dtype=bool)
        for k in range(1, n):
            key = key << BITS | gap[k : last + k] << (BITS - 1) | code[k : last + k]
            gaps |= gap[k : last + k] > 0
        whole = gaps & (sentence[:last] == sentence[n - 1 :])
        keys.append(key[whole])
        rows.append(row[:last][whole])
    key, row = np.concatenate(keys), np.concatenate(rows)
    order = np.lexsort((row, key))
    key, row = key[order], row[order]
    new = np.append(True, key[1:] != key[:-1])[: len(key)]
    sets = from_pairs(np.cumsum(new) - 1, row, key[new])
    sets = sets.take(np.flatnonzero(sets.sizes >= least))
    words = [spelled(texts[int(tokens.rows()[np.argmax(hashes == h)])], h, 1) for h in frequent]
    return RowSets(sets.rows, sets.bounds, np.array([_name(int(k), words) for k in sets.names], dtype=object))


def _name(key: int, words: list[str]) -> str:
    parts: list[str] = []
    while key:
        code = key & ((1 << BITS) - 1)
        parts.append(("… " if code >> (BITS - 1) else "") + words[(code & ((1 << (BITS - 1)) - 1)) - 1])
        key >>= BITS
    return " ".join(reversed(parts))
