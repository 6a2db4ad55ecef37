"""Groups of near-duplicate texts: MinHash of word sets, locality-sensitive hashing, connected components.

Broder (1997). Two texts are near-duplicates when the estimated Jaccard similarity of their word sets is high enough.
O(texts × hashes).
"""

import re

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

HASHES = 64
BANDS = 16
WORD = re.compile(r"\w+")
PRIME = (1 << 31) - 1


def groups(texts: list[str], similarity: float, least: int, seed: int) -> list[np.ndarray]:
    """Index arrays of groups of at least `least` near-duplicates, the largest first."""
    signatures = _minhash(texts, seed)
    pairs: list[tuple[int, int]] = []
    for band in np.split(signatures, BANDS, axis=1):
        _, bucket, sizes = np.unique(band, axis=0, return_inverse=True, return_counts=True)
        bucket = bucket.ravel()
        order = np.argsort(bucket, kind="stable")
        starts = np.cumsum(np.r_[0, sizes])
        for b in np.flatnonzero(sizes > 1):
            members = order[starts[b] : starts[b + 1]]
            # compared with the bucket's first only: near-duplicates meet in other bands if this one is not their like
            alike = (signatures[members] == signatures[members[0]]).mean(axis=1) >= similarity
            pairs += [(int(members[0]), int(m)) for m in members[alike][1:]]
    if not pairs:
        return []
    rows, columns = np.array(pairs).T
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(texts), len(texts)))
    _, label = connected_components(graph, directed=False)
    sizes = np.bincount(label)
    return [np.flatnonzero(label == g) for g in np.argsort(-sizes, kind="stable") if sizes[g] >= least]


def _minhash(texts: list[str], seed: int) -> np.ndarray:
    """(texts, HASHES) int64 signatures."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(1, PRIME, HASHES), rng.integers(0, PRIME, HASHES)
    vocabulary: dict[str, int] = {}
    signatures = np.full((len(texts), HASHES), PRIME, dtype=np.int64)
    for row, text in enumerate(texts):
        words = {vocabulary.setdefault(w, len(vocabulary)) for w in WORD.findall(text.lower())}
        if words:
            codes = np.fromiter(words, dtype=np.int64)
            signatures[row] = ((codes[:, None] * a + b) % PRIME).min(axis=0)
    return signatures
