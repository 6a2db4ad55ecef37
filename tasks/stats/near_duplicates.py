"""Groups of near-duplicate texts, and whether a group is larger than honest repetition explains.

Similarity is the Jaccard index of the sets of two-word shingles (Broder 1997). Candidates come from MinHash bands
(Indyk and Motwani 1998) and are verified on the shingles themselves against the first text of their band; groups are
connected components. A text that honest people repeat with probability r is in a group of k with probability r^(k−1);
r is measured on the other texts. O(words × hashes).
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from tasks.stats.tokens import BASE, Readable, mix, ngrams

BANDS = 8
ROWS = 4  # hashes in a band: texts at a similarity of .7 meet with probability 1 − (1 − .7⁴)⁸ = .89, at .8 with .98
SLACK = 0.25  # pairs whose signatures agree less than the similarity by more than this are not looked at (3 errors)
ASKED = 0.5  # of the words of two prompts, the share in common from which they are the same question
BLOCK = 1024  # texts whose shingles are hashed at once


@dataclass(frozen=True)
class Flood:
    """Rows of a group (ascending), the one most like all others, mean similarity to it, and the p-value of the size."""

    rows: np.ndarray
    medoid: int
    similarity: float
    p_value: float


def floods(
    tokens: Readable, similarity: float, least: int, shortest: int = 4, *, asked: Readable | None = None
) -> list[Flood]:
    """Groups of at least `least` texts (of at least `shortest` words), the largest first. Two texts whose prompts, the
    texts of `asked`, have less than ASKED of their words in common are no copies: a long answer to two questions."""
    n = len(tokens.bounds) - 1
    usable = np.flatnonzero(np.diff(tokens.bounds) >= shortest)
    if len(usable) < least:
        return []
    pairs = _verified(tokens, _candidates(tokens, usable, similarity - SLACK), similarity)
    if asked is not None:
        same = [_jaccard(*(np.unique(asked.take(pair[k : k + 1]).hashes) for k in (0, 1))) >= ASKED for pair in pairs]
        pairs = pairs[np.array(same, dtype=bool)]
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    sizes = np.bincount(label[usable], minlength=label.max() + 1)
    large = [g for g in np.argsort(-sizes, kind="stable") if sizes[g] >= least]
    repeated = int((sizes[sizes > 1] - 1).sum())
    found = []
    for g in large:
        rows = np.flatnonzero(label == g)
        others = max(0, repeated - (len(rows) - 1))
        rate = (others + 1) / (len(usable) - len(rows) + 2)
        groups = max(1, len(usable) - repeated)
        p_value = float(min(1.0, groups * rate ** (len(rows) - 1)))
        medoid, mean = _medoid(tokens, rows)
        found.append(Flood(rows, medoid, mean, p_value))
    return found


def _candidates(tokens: Readable, usable: np.ndarray, least: float) -> np.ndarray:
    """(c, 2) pairs that share a band, each text with the first of its bucket and with the one before it, and whose
    signatures agree in a share of at least `least`."""
    signatures = _minhash(tokens)
    pairs = []
    for band in range(BANDS):
        key = np.zeros(len(signatures), dtype=np.uint64)
        for k in range(band * ROWS, (band + 1) * ROWS):
            key = mix(key * np.uint64(BASE) + signatures[:, k])
        order = usable[np.argsort(key[usable], kind="stable")]
        new = np.append(True, key[order][1:] != key[order][:-1])
        first = order[np.flatnonzero(new)[np.cumsum(new) - 1]]
        later = np.flatnonzero(~new)
        for before in (first[later], order[later - 1]):
            pairs.append(np.stack([before, order[later]], axis=1)[_alike(signatures, before, order[later]) >= least])
    return np.unique(np.concatenate(pairs), axis=0)


def _alike(signatures: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(pairs,) share of the hashes in which two signatures agree."""
    out = np.empty(len(one))
    for a in range(0, len(one), BLOCK):
        same = signatures[one[a : a + BLOCK]] == signatures[other[a : a + BLOCK]]
        out[a : a + BLOCK] = same.mean(axis=1)
    return out


def _minhash(tokens: Readable) -> np.ndarray:
    """(n, BANDS·ROWS) uint32: the high half of the least of each hash over a text's shingles."""
    n = len(tokens.bounds) - 1
    out = np.full((n, BANDS * ROWS), np.iinfo(np.uint32).max, dtype=np.uint32)
    factors = mix(np.arange(1, BANDS * ROWS + 1, dtype=np.uint64)) | np.uint64(1)
    for first in range(0, n, BLOCK):
        part = tokens.take(np.arange(first, min(first + BLOCK, n)))
        hashes, row = ngrams(part, 2)
        if not len(hashes):
            continue
        starts, mixed = np.flatnonzero(np.append(True, row[1:] != row[:-1])), np.empty_like(hashes)
        for k, factor in enumerate(factors):
            # the high bits of a product with an odd number are as good as an independent hash
            out[first + row[starts], k] = np.minimum.reduceat(
                np.multiply(hashes, factor, out=mixed), starts
            ) >> np.uint64(32)
    return out


def _shingles(tokens: Readable, rows: np.ndarray) -> dict[int, np.ndarray]:
    """(k,) uint64 different shingles of each of the texts `rows` (ascending), ascending."""
    found: dict[int, np.ndarray] = {}
    for some in (rows[a : a + BLOCK] for a in range(0, len(rows), BLOCK)):
        hashes, row = ngrams(tokens.take(some), 2)
        order = np.lexsort((hashes, row))
        hashes, row = hashes[order], row[order]
        new = np.append(True, (hashes[1:] != hashes[:-1]) | (row[1:] != row[:-1]))[: len(row)]
        each = np.split(hashes[new], np.searchsorted(row[new], np.arange(1, len(some))))
        found |= zip(some.tolist(), each, strict=True)
    return found


def _jaccard(a: np.ndarray, b: np.ndarray) -> float:
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / max(1, len(a) + len(b) - shared)


def _verified(tokens: Readable, pairs: np.ndarray, similarity: float) -> np.ndarray:
    known = _shingles(tokens, np.unique(pairs))
    good = [_jaccard(known[int(a)], known[int(b)]) >= similarity for a, b in pairs]
    return pairs[np.array(good, dtype=bool)].reshape(-1, 2)


def _medoid(tokens: Readable, rows: np.ndarray) -> tuple[int, float]:
    """The text most like up to fifty others of the group, and its mean similarity to them."""
    shown = rows[np.linspace(0, len(rows) - 1, min(len(rows), 50)).astype(int)]
    sets = _shingles(tokens, rows)
    mean = [np.mean([_jaccard(sets[int(r)], sets[int(s)]) for s in shown]) for r in rows]
    best = int(np.argmax(mean))
    return int(rows[best]), float(mean[best])
