"""KL divergence of the policy from the reference: estimators at sampled tokens, and the coefficient of its penalty."""

import torch


def kl_per_token(logprobs: torch.Tensor, ref_logprobs: torch.Tensor, estimator: str) -> torch.Tensor:
    """Estimate of KL(π ‖ π_ref) at each token sampled from π, of any shape. With d = log π(x) − log π_ref(x):

    k1 = d: unbiased, may be negative. k2 = d²/2: biased, low variance. k3 = e^(−d) − 1 + d: unbiased, never negative.
    Source: Schulman, "Approximating KL divergence" (2020).
    """
    d = logprobs - ref_logprobs
    if estimator == "k1":
        return d
    if estimator == "k2":
        return d**2 / 2
    if estimator == "k3":
        return torch.expm1(-d) + d
    raise ValueError(f"{estimator} is no estimator of KL: k1, k2 or k3")


def adapted_coefficient(coefficient: float, kl: float, target: float | None, horizon: int, episodes: int) -> float:
    """β after `episodes` responses with a mean KL of `kl` nats: β · (1 + clip(kl / target − 1, ±0.2) · episodes /
    horizon). Without a target it stays. Ziegler et al. (2019), section 2.2."""
    if target is None:
        return coefficient
    error = min(max(kl / target - 1, -0.2), 0.2)
    return coefficient * (1 + error * episodes / horizon)
