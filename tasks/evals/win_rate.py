"""Win rate of one model's responses over another's, under a judge's scores."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from tasks.stats.intervals import bootstrap_mean


@dataclass(frozen=True)
class Rate:
    """A rate with its interval; `n` counts comparisons, drawn in clusters of one prompt each."""

    value: float
    low: float
    high: float
    n: int


def comparisons(first: np.ndarray, second: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """(outcomes, prompt of each): every response of one model against every one of the other to the same prompt.

    `first`, `second`: judge scores (prompts · samples,), prompt after prompt. An outcome is 1 for a win of the first,
    ½ for a tie, 0 for a loss. Shapes: (prompts · samples²,).
    """
    a = first.reshape(-1, samples)[:, :, None]
    b = second.reshape(-1, samples)[:, None, :]
    outcomes = np.where(a > b, 1.0, np.where(a == b, 0.5, 0.0))
    prompts = np.broadcast_to(np.arange(a.shape[0])[:, None, None], outcomes.shape)
    return outcomes.ravel(), prompts.ravel()


def win_rate(first: np.ndarray, second: np.ndarray, samples: int, *, level: float, resamples: int, seed: int) -> Rate:
    """Mean outcome with a bootstrap interval over prompts."""
    outcomes, prompts = comparisons(first, second, samples)
    low, high = bootstrap_mean(outcomes, level=level, resamples=resamples, seed=seed, clusters=prompts)
    return Rate(float(outcomes.mean()), low, high, len(outcomes))


def length_controlled(
    first: np.ndarray,
    second: np.ndarray,
    lengths: tuple[np.ndarray, np.ndarray],
    samples: int,
    *,
    level: float,
    resamples: int,
    seed: int,
) -> Rate:
    """Win rate that would be seen at equal length: σ(θ) of P(win) = σ(θ + φ · tanh(Δ/s)).

    Δ is the difference in tokens and s its standard deviation over all comparisons, as in length-controlled AlpacaEval
    (Dubois et al. 2024), without its terms for single instructions. Fitted by maximum likelihood with a weak ridge;
    the interval resamples prompts and fits again.
    """
    outcomes, prompts = comparisons(first, second, samples)
    gaps = lengths[0].reshape(-1, samples)[:, :, None] - lengths[1].reshape(-1, samples)[:, None, :]
    gap = gaps.ravel().astype(np.float64)
    feature = np.tanh(gap / (gap.std() or 1.0))
    rng = np.random.default_rng(seed)
    n_prompts, each = len(first) // samples, samples * samples
    by_prompt = np.arange(len(outcomes)).reshape(n_prompts, each)
    fits = np.empty(max(100, resamples // 10))  # each is a fit: a tenth as many as for a mean
    for i in range(len(fits)):
        rows = by_prompt[rng.integers(n_prompts, size=n_prompts)].ravel()
        fits[i] = length_controlled_of(outcomes[rows], feature[rows])
    low, high = np.quantile(fits, [(1 - level) / 2, (1 + level) / 2])
    return Rate(length_controlled_of(outcomes, feature), float(low), float(high), len(prompts))


def length_controlled_of(outcomes: np.ndarray, feature: np.ndarray) -> float:
    """σ(θ) of the fit above, from outcomes (n,) and their length feature tanh(Δ/s) (n,)."""

    def negative_log_likelihood(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        logits = parameters[0] + parameters[1] * feature
        residual = expit(logits) - outcomes
        loss = np.mean(np.logaddexp(0, logits) - outcomes * logits) + 1e-4 * parameters @ parameters
        return float(loss), np.array([residual.mean(), (residual * feature).mean()]) + 2e-4 * parameters

    fitted = minimize(negative_log_likelihood, np.zeros(2), jac=True, method="BFGS")
    return float(expit(fitted.x[0]))
