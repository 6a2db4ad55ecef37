"""Length expert: how much of a preference the lengths of the two answers explain alone, for a bias product.

The expert says P(chosen preferred) = σ(bᵢ) with bᵢ = φ · tanh(Δᵢ/s), Δᵢ the difference in tokens (chosen less rejected)
and s its root mean square; φ is fitted by maximum likelihood on the training pairs. A reward model that is then trained
on σ(r(chosen) − r(rejected) + bᵢ), the product of both experts, gains nothing by learning what length already explains;
the expert is left off when the model is used. Bias product: Clark et al. (2019), "Don't Take the Easy Way Out"; for the
length bias of reward models: Shen et al. (2023), "Loose lips sink ships".
"""

from dataclasses import dataclass

import numpy as np

from tasks.stats.logistic_slope import logistic_slope

STEEPEST = 10.0


@dataclass(frozen=True)
class LengthExpert:
    """`slope` φ, from −10 to 10; `scale` s in tokens."""

    slope: float
    scale: float

    def log_odds(self, gaps: np.ndarray) -> np.ndarray:
        """b (n,) of differences in tokens (n,): antisymmetric, and at most |φ|."""
        found: np.ndarray = self.slope * np.tanh(gaps / self.scale)
        return found


def length_expert(gaps: np.ndarray, weights: np.ndarray) -> LengthExpert:
    """Expert of pairs with differences `gaps` (n,) in tokens and `weights` (n,)."""
    scale = float(np.sqrt(np.mean(gaps.astype(np.float64) ** 2))) or 1.0
    return LengthExpert(logistic_slope(np.tanh(gaps / scale), weights, -STEEPEST, STEEPEST), scale)
