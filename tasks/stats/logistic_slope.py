"""Logistic regression of pairs on one feature, without an intercept: P(first preferred | x) = σ(β x).

A pair shown the other way round has −x and the other label, so that an intercept would mean nothing. The weighted
log-likelihood Σ wᵢ log σ(β xᵢ) is concave in β; its derivative Σ wᵢ xᵢ σ(−β xᵢ) falls, and β is its root (Cox 1958).
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit


def logistic_slope(x: np.ndarray, weights: np.ndarray, low: float, high: float) -> float:
    """β between `low` and `high`. `x` (n,): feature of the preferred side less that of the other; `weights` (n,) ≥ 0.

    Where the likelihood still rises (falls) at an end, as for pairs that one sign explains wholly, that end is given.
    """

    def derivative(slope: float) -> float:
        return float(np.sum(weights * x * expit(-slope * x)))

    if derivative(high) >= 0:
        return high
    if derivative(low) <= 0:
        return low
    return float(brentq(derivative, low, high))
