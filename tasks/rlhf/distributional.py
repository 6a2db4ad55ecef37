"""Distributional preference learning: an answer has no one utility but a distribution of utilities, over all that the data does not
say (hidden context), such as which of several groups of people was asked. From two heads, μ and s, of one reward model:

    u(a) ~ N(μ(a), σ(a)²)      σ(a) = exp(s(a)) · 2 / √π
    P(a ≻ b) = Φ((μ(a) − μ(b)) / √(σ(a)² + σ(b)²))
    r² = Var μ / (Var μ + E σ²)        of utility's variance, what the answers explain; the rest is hidden context, and noise
    Q_q(a) = μ(a) + σ(a) Φ⁻¹(q)        what all but a share q of the distribution exceed: for q < ½ averse to risk

The likelihood knows μ and σ up to a common factor. At s = 0, where the training begins, P has the slope of Bradley and
Terry's at equal means, σ(Δ): 2/√π is that scale, and μ stays about as large as their scores.

Source: Siththaranjan, Laidlaw and Hadfield-Menell (2023), "Distributional Preference Learning: Understanding and Accounting for
Hidden Context in RLHF" (arXiv:2312.08358), their mean-and-variance model; r² as in their evaluation. Thurstone (1927) has the same P.
They take σ as a softplus and Φ by a logistic function; here both are exact.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.special import log_ndtr, ndtri

HEADS = {"mean": 1.0, "log_spread": 0.0}  # names of the heads μ and s, and their weights in the mean score
SCALE = 2 / math.sqrt(math.pi)
NORMAL_QUANTILE = "normal_quantile"


def begin_alike(model: Any) -> None:
    """Have an untrained model of both heads give every answer the same spread: nothing is known of it yet."""
    model.score.weight.data[1] = 0.0


def spread(log_spread: torch.Tensor) -> torch.Tensor:
    """σ of the head s, of any shape."""
    return SCALE * log_spread.exp()


def standardised(better: torch.Tensor, worse: torch.Tensor) -> torch.Tensor:
    """(Δμ / √(σ² + σ²)) (n,) of two answers' heads (n, 2)."""
    deviation = torch.hypot(spread(better[:, 1]), spread(worse[:, 1]))
    return (better[:, 0] - worse[:, 0]) / deviation


def normal_pairs(
    scores: torch.Tensor,
    *,
    weight: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Weighted negative log-likelihood of every pair of K-way rankings, a scalar: mean over pairs of
    w [−(1 − ε) log Φ(z) − ε log Φ(−z)], z as in `standardised`.

    `scores` (n, K, 2): μ and s of the responses in the order of the ranking, best first; `weight` (n, C(K, 2)) of its pairs;
    `label_smoothing` ε: share of labels taken to be the wrong way round. Computed in fp32.
    """
    first, second = torch.triu_indices(scores.shape[1], scores.shape[1], 1, device=scores.device)
    scores = scores.float()
    z = standardised(scores[:, first].flatten(0, 1), scores[:, second].flatten(0, 1))
    losses = -(1 - label_smoothing) * log_ndtr(z) - label_smoothing * log_ndtr(-z)
    return (losses if weight is None else losses * weight.flatten()).mean()


def explained(scores: torch.Tensor) -> float:
    """r² of answers' μ and s (n, 2); NaN of none."""
    of_means, within = scores[:, 0].double().var(correction=0), spread(scores[:, 1].double()).square().mean()
    return float(of_means / (of_means + within))


def normal_quantile(scores: torch.Tensor, share: float) -> torch.Tensor:
    """Q_share (N,) of μ and s (N, 2)."""
    level = ndtri(torch.tensor(share, dtype=torch.float64)).item()
    return scores[:, 0] + level * spread(scores[:, 1])
