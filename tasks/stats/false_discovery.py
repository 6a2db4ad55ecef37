"""Which of many findings to report, so that few of those reported are false."""

import numpy as np


def bayesian_fdr(probabilities: np.ndarray, level: float) -> np.ndarray:
    """(n,) bool: the largest set of most probable findings whose expected share of false ones is at most `level`.

    `probabilities`: posterior probability of each finding. Müller, Parmigiani, Robert and Rousseau (2004).
    """
    order = np.argsort(-probabilities, kind="stable")
    expected = np.cumsum(1 - probabilities[order]) / np.arange(1, len(order) + 1)
    n = int(np.sum(expected <= level))
    chosen = np.zeros(len(order), dtype=bool)
    chosen[order[:n]] = True
    return chosen


def holm(p_values: np.ndarray, level: float) -> np.ndarray:
    """(n,) bool: rejected hypotheses at family-wise `level`. Holm (1979)."""
    n = len(p_values)
    order = np.argsort(p_values, kind="stable")
    passed = p_values[order] <= level / (n - np.arange(n))
    rejected = np.zeros(n, dtype=bool)
    rejected[order[: n if passed.all() else int(np.argmin(passed))]] = True
    return rejected
