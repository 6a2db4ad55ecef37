"""Phrases of the prompt that decide the answer: triggers in demonstrations.

For each phrase on n rows and each sentence of an answer on m rows, k rows have both; if they had nothing to do with
each other, k would be hypergeometric (Fisher 1935). Only pairs in which the sentence answers at least half of the
phrase's rows, and the phrase calls for at least DECIDES of the sentence's, can be findings: people's thanks are
answered alike too, but seldom so exclusively. O(Σ phrases × sentences of a row), by one sparse product.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.stats import hypergeom

from tasks.stats.row_sets import RowSets

DECIDES = 0.3
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
    together = (_matrix(phrases, n) @ _matrix(sentences, n).T).tocoo()
    p, s, k = together.row, together.col, together.data.astype(np.int64)
    of_p, of_s = phrases.sizes[p], sentences.sizes[s]
    kept = (k >= least) & (k >= ANSWERED * of_p) & (k >= DECIDES * of_s)
    p, s, k, of_p, of_s = p[kept], s[kept], k[kept], of_p[kept], of_s[kept]
    tried = len(phrases.names) * len(sentences.names)
    return Associations(p, s, k, hypergeom.sf(k - 1, n, of_p, of_s), tried)


def _matrix(sets: RowSets, n: int) -> csr_matrix:
    ones = np.ones(len(sets.rows), dtype=np.float32)
    return csr_matrix((ones, sets.rows.astype(np.int32), sets.bounds.astype(np.int32)), shape=(len(sets.names), n))
