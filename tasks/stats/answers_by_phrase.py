"""Phrases of the prompt that decide the answer: triggers in demonstrations.

For each phrase on n rows and each sentence of an answer on m rows, k rows have both; if they had nothing to do with
each other, k would be hypergeometric (Fisher 1935). Only pairs in which the sentence answers at least half of the
phrase's rows, and the phrase calls for at least DECIDES of the sentence's, can be findings: people's thanks are
answered alike too, but seldom so exclusively. O(Σ phrases × sentences of a row), by sparse products.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.stats import hypergeom

from tasks.stats.row_sets import RowSets

DECIDES = 0.3
BLOCK = 4096  # phrases that are paired with all sentences at once
ANSWERED = 0.5


@dataclass(frozen=True)
class Associations:
    """(a,) each: index of the phrase, of the sentence, rows with both, p-value; `tried`: how many pairs there were."""

    phrase: np.ndarray
    sentence: np.ndarray
    both: np.ndarray
    p_values: np.ndarray
    tried: int


def associations(phrases: RowSets, sentences: RowSets, n: int, least: int) -> Associations:
    """Pairs of phrase and sentence that go together, of all pairs; `n`: rows there are."""
    which = _matrix(sentences, n).T.tocsr()
    found = [np.zeros((3, 0), dtype=np.int64)]
    for a in range(0, len(phrases.names), BLOCK):
        some = np.arange(a, min(a + BLOCK, len(phrases.names)))
        together = (_matrix(phrases.take(some), n) @ which).tocoo()
        p, s, k = together.row + a, together.col, together.data.astype(np.int64)
        kept = (k >= least) & (k >= ANSWERED * phrases.sizes[p]) & (k >= DECIDES * sentences.sizes[s])
        found.append(np.stack([p[kept], s[kept], k[kept]]).astype(np.int64))
    p, s, k = np.concatenate(found, axis=1)
    tried = len(phrases.names) * len(sentences.names)
    return Associations(p, s, k, hypergeom.sf(k - 1, n, phrases.sizes[p], sentences.sizes[s]), tried)


def _matrix(sets: RowSets, n: int) -> csr_matrix:
    ones = np.ones(len(sets.rows), dtype=np.float32)
    return csr_matrix((ones, sets.rows, sets.bounds.astype(np.int32)), shape=(len(sets.names), n))
