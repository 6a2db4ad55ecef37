"""Too-regular answers: a vote that can be foretold from the annotator's own votes before it, not from the items.

With e_t the residual of the t-th vote, choice − P(1 | the others' votes on its item), the residuals of somebody who
reads are uncorrelated, in whatever order items come. For each lag l up to LAGS,

    z_l = Σ_t e_t e_{t+l} / √(Σ_t e_t² e_{t+l}²)

(Box and Pierce 1970, self-normalised). Alternating, blocks and periods show at some lag; two-sided, Bonferroni over
lags. O(votes × lags).
"""

import numpy as np
from scipy.special import ndtr

from tasks.stats.ballots import by_annotator

LAGS = 4
LEAST = 20  # products for the normal approximation


def regularity_p_values(who: np.ndarray, residual: np.ndarray, order: np.ndarray, n_annotators: int) -> np.ndarray:
    """(annotators,) p-values; 1 with too few votes. `residual`: (votes,); `order`: rows by annotator and time."""
    best = np.ones(n_annotators)
    for people, rows in by_annotator(who, order, n_annotators):
        person, e = who.take(rows) - people.start, residual.take(rows).astype(np.float64)
        best[people] = _least(person, e, people.stop - people.start)
    return np.minimum(1.0, best * LAGS)


def _least(person: np.ndarray, e: np.ndarray, n: int) -> np.ndarray:
    """(n,) least p-value over the lags."""
    best = np.ones(n)
    for lag in range(1, LAGS + 1):
        same = person[lag:] == person[:-lag]
        product, of = (e[lag:] * e[:-lag])[same], person[lag:][same]
        counts, squares = np.bincount(of, minlength=n), np.bincount(of, product**2, n)
        z = np.bincount(of, product, n) / np.sqrt(np.maximum(squares, 1e-12))
        best = np.minimum(best, np.where(counts >= LEAST, 2 * ndtr(-np.abs(z)), 1.0))
    return best
