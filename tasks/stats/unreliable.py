"""Empirical-Bayes probability that an annotator is no better than guessing.

Of n votes, x agree with what the others say. Honest annotators' agreement rates follow Beta(a, b); unreliable ones
guess (rate ½) or are below that (uniform on (0, ½)). Shares and a, b are fitted to all annotators together by EM
(Efron 2010, local false discovery rates), so that what is normal is learned from the crowd at hand.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import betainc, betaln, expit

STEPS = 50
LEAST_SHARE = 1e-3


def probability_unreliable(agreeing: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Log odds (annotators,) of being unreliable, from agreeing and all votes (`agreeing` may be fractional)."""
    x, n = np.asarray(agreeing, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    guessing = n * np.log(0.5)
    below = np.log(2.0) + betaln(x + 1, n - x + 1) + np.log(np.maximum(betainc(x + 1, n - x + 1, 0.5), 1e-300))
    bad = np.logaddexp(guessing, below) - np.log(2.0)
    share, shape = 0.05, np.log([8.0, 3.0])
    good = _log_marginal(x, n, shape)
    for _ in range(STEPS):
        odds = np.log(share / (1 - share)) + bad - good
        posterior = expit(odds)
        shape = _fit(x, n, 1 - posterior, shape)
        good = _log_marginal(x, n, shape)
        updated = float(np.clip(posterior.mean(), LEAST_SHARE, 0.5))
        if abs(updated - share) < 1e-6:
            break
        share = updated
    return np.log(share / (1 - share)) + bad - good


def _log_marginal(x: np.ndarray, n: np.ndarray, shape: np.ndarray) -> np.ndarray:
    a, b = np.exp(shape)
    marginal: np.ndarray = betaln(x + a, n - x + b) - betaln(a, b)
    return marginal


def _fit(x: np.ndarray, n: np.ndarray, weight: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Shape of the honest Beta: weighted maximum likelihood; its mean stays above ½, its spread is not degenerate."""

    def loss(shape: np.ndarray) -> float:
        a, b = np.exp(shape)
        outside = max(0.0, 0.55 - a / (a + b))  # honest people are better than guessing, or there is nobody to trust
        return float(-np.sum(weight * _log_marginal(x, n, shape)) / weight.sum() + 1e3 * outside**2)

    fitted = minimize(loss, start, method="Nelder-Mead", options={"maxiter": 60, "xatol": 1e-3, "fatol": 1e-6})
    return np.clip(fitted.x, np.log(0.5), np.log(500.0))
