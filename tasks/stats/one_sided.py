"""Features that stand on one side of the pairs far more often than honest preferences explain.

c and r pairs have the feature in the chosen or the rejected answer alone (McNemar 1947). Honest features are preferred
more or less: their share on the chosen side follows a beta distribution, fitted to all features of a kind and of like
frequency by maximum likelihood, its precision halved because tails of real features are heavier; two-sided
beta-binomial p-values (Skellam 1948). Where there are too few features to fit, the null is a share of HONEST at most.
O(features × Newton-free line search).
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import betaln
from scipy.stats import betabinom, binom

EXTREME = 0.85  # share on one side from which a feature can be a finding at all
HONEST = 0.8  # the most one-sided that a style is taken to be honestly
FEW = 50  # features of like frequency without which no prior is fitted


def against_prior(chosen: np.ndarray, rejected: np.ndarray) -> np.ndarray:
    """(f,) p-values of counts of one kind of feature, by a prior for each octave of frequency; 1 where not extreme."""
    total = chosen + rejected
    p_values, wanted = np.ones(len(total)), extreme(chosen, rejected)
    octave = np.floor(np.log2(np.maximum(total, 1))).astype(int)
    for k in np.unique(octave):
        of = np.flatnonzero(octave == k)
        tried = of[wanted[of]]
        if not len(tried):
            continue
        if len(of) < FEW:
            p_values[tried] = against_honest(chosen[tried], rejected[tried])
            continue
        mean, precision = _fit(chosen[of], rejected[of])
        a, b = mean * precision / 2, (1 - mean) * precision / 2
        above = betabinom.sf(chosen[tried] - 1, total[tried], a, b)
        below = betabinom.cdf(chosen[tried], total[tried], a, b)
        p_values[tried] = np.minimum(1.0, 2 * np.minimum(above, below))
    return p_values


def against_honest(chosen: np.ndarray, rejected: np.ndarray, honest: float = HONEST) -> np.ndarray:
    """(f,) p-values against a share on the likelier side of at most `honest`."""
    most = np.maximum(chosen, rejected)
    return np.minimum(1.0, 2 * binom.sf(most - 1, chosen + rejected, honest))


def extreme(chosen: np.ndarray, rejected: np.ndarray) -> np.ndarray:
    """(f,) bool: on one side at least EXTREME of the time."""
    return np.maximum(chosen, rejected) >= EXTREME * np.maximum(1, chosen + rejected)


def _fit(chosen: np.ndarray, rejected: np.ndarray) -> tuple[float, float]:
    """Mean and precision (a + b) of the beta distribution of shares."""
    mean = float(np.clip(chosen.sum() / max(1, (chosen + rejected).sum()), 0.05, 0.95))

    def loss(log_precision: float) -> float:
        a, b = mean * np.exp(log_precision), (1 - mean) * np.exp(log_precision)
        return -float((betaln(chosen + a, rejected + b) - betaln(a, b)).sum())

    return mean, float(np.exp(minimize_scalar(loss, bounds=(0.0, 9.0), method="bounded").x))
