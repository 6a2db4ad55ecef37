"""Audit on golden items: exact binomial test of each annotator, Holm over all of them."""

import numpy as np
from scipy.special import bdtr

from tasks.stats.false_discovery import holm

LEAST_ACCURACY = 0.6  # golden items are clear: whoever is not right on three in five is not looking


def golden_audit(correct: np.ndarray, counts: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """(flags, p-values), each (annotators,): H₀ is accuracy ≥ `LEAST_ACCURACY`, p = P(X ≤ correct | counts, H₀).

    Annotators without golden items have p = 1 and do not count as tests.
    """
    p_values = np.where(counts > 0, bdtr(correct, np.maximum(counts, 1), LEAST_ACCURACY), 1.0)
    flags = np.zeros(len(counts), dtype=bool)
    tested = np.flatnonzero(counts > 0)
    flags[tested] = holm(p_values[tested], level)
    return flags, p_values
