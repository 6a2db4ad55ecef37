"""What one answer of a pair says and the other does not: a sparse matrix of words, pairs of words and sentences.

x_ij = 1 if feature j is in the chosen answer only, −1 if it is in the rejected answer only, 0 otherwise; features are
hashed into buckets (Weinberger et al. 2009), and those that tell apart too few pairs are left out. O(words log words)
time; blocks of rows bound the memory.
"""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_matrix

from tasks.stats.in_order import in_order
from tasks.stats.tokens import Read, ngrams, sentences, spelled, tokenize

KINDS = (1, 2, 0)  # words of a feature of each kind; 0: a sentence
BUCKETS = 22  # bits: about ten times the features that 100,000 pairs of answers have
BLOCK = 1 << (31 - BUCKETS)  # rows, so that row, bucket and side make one 32-bit key
SHORTEST_SENTENCE = 3  # words; two-word sentences are pairs of words


def features(tokens: Read) -> tuple[np.ndarray, np.ndarray]:
    """((f,) int64 bucket, (f,) int32 text) of every word, pair of words and sentence."""
    parts = [ngrams(tokens, 1), ngrams(tokens, 2), sentences(tokens, SHORTEST_SENTENCE)]
    hashes, rows = (np.concatenate(p) for p in zip(*parts, strict=True))
    kind = np.repeat(np.arange(len(parts)), [len(p[0]) for p in parts])
    return (hashes >> np.uint64(66 - BUCKETS)).astype(np.uint32) | (kind << (BUCKETS - 2)).astype(np.uint32), rows


def difference_matrix(chosen: Read, rejected: Read, least: int) -> tuple[csr_matrix, np.ndarray]:
    """((n, d) float32 matrix, (d,) bucket of each column) of the features that tell apart at least `least` pairs."""
    n = len(chosen.bounds) - 1
    counts, blocks = np.zeros(1 << BUCKETS, dtype=np.int32), []
    length = np.zeros(n, dtype=np.int32)
    found = in_order(lambda k: _block(chosen.take(k), rejected.take(k)), _blocks(n))
    for k, (what, size) in zip(_blocks(n), found, strict=True):
        length[k] = size
        np.add.at(counts, what >> 1, np.int32(1))  # of its own type: numpy is slow at others
        blocks.append(what)
    kept = np.flatnonzero(counts >= least)
    column = np.full(1 << BUCKETS, -1, dtype=np.int32)
    column[kept] = np.arange(len(kept))
    total, filled = int(counts[kept].sum(dtype=np.int64)), 0
    indices, values = np.empty(total, dtype=np.int32), np.empty(total, dtype=np.float32)
    for j, k in enumerate(_blocks(n)):
        what, blocks[j] = blocks[j], np.empty(0, dtype=np.int32)  # as one grows, the other goes
        into = column[what >> 1]
        good = into >= 0
        row = np.repeat(np.arange(len(k)), length[k])
        part = slice(filled, filled + int(good.sum()))
        indices[part], values[part] = into[good], 1 - 2 * (what[good] & 1)
        length[k] = np.bincount(row[good], minlength=len(k))
        filled = part.stop
    pointer = np.concatenate([[0], np.cumsum(length, dtype=np.int64)])
    return csr_matrix((values, indices, pointer.astype(np.int32)), shape=(n, len(kept))), kept


def _blocks(n: int) -> Iterator[np.ndarray]:
    yield from (np.arange(a, min(a + BLOCK, n)) for a in range(0, n, BLOCK))


def _block(chosen: Read, rejected: Read) -> tuple[np.ndarray, np.ndarray]:
    """((f,) int32, by row and bucket: twice the bucket, and 1 more for the rejected side; (rows,) features of each)."""
    keys = []
    for side, tokens in enumerate((chosen, rejected)):
        bucket, row = features(tokens)
        keys.append((row.astype(np.uint32) << np.uint32(BUCKETS) | bucket) << np.uint32(1) | np.uint32(side))
    both = np.sort(np.concatenate(keys))
    both = both[np.append(True, both[1:] != both[:-1])[: len(both)]]
    what = both >> np.uint32(1)
    same = what[1:] == what[:-1]
    both = both[~(np.append(same, False) | np.append(False, same))[: len(both)]]
    length = np.bincount(both >> np.uint32(BUCKETS + 1), minlength=len(chosen.bounds) - 1)
    return (both & np.uint32((2 << BUCKETS) - 1)).astype(np.int32), length


def kind_of(bucket: np.ndarray) -> np.ndarray:
    """Index in KINDS of each bucket's features."""
    return bucket >> (BUCKETS - 2)


def feature_text(text: str, bucket: int) -> str:
    """The feature of `text` that falls into `bucket`; "" if there is none."""
    tokens = tokenize([text])
    words = KINDS[int(kind_of(np.array(bucket)))]
    hashes = ngrams(tokens, words)[0] if words else sentences(tokens, SHORTEST_SENTENCE)[0]
    place = (hashes >> np.uint64(66 - BUCKETS)).astype(np.int64)
    at = np.flatnonzero(place == (bucket & ((1 << (BUCKETS - 2)) - 1)))
    return spelled(text, hashes[at[0]], words) if len(at) else ""
