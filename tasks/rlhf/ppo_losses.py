"""The arithmetic of PPO as pure functions on masked tensors. All statistics are fp32.

Shapes: B responses of at most T tokens; `mask` (B, T) is 1 on real tokens, the end token included. A response of n
tokens has n + 1 states, one before each token and one after the last: `state_mask` (B, T+1).
"""

import torch


def score_without_end(
    scores: torch.Tensor, ended: torch.Tensor, replacement: float | None, penalty: float
) -> torch.Tensor:
    """Scores (B,) in which an answer without an end token has `replacement` instead of its own, unless that is None,
    less `penalty`: the reward model never saw answers cut short. `ended`: (B,) bool. Huang et al. (2024), detail 1.4.
    """
    if replacement is not None:
        scores = torch.where(ended, scores, replacement)
    return scores - penalty * (~ended).float()


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of `values` where `mask` is 1, a scalar; 0 if it is nowhere."""
    mask = mask.float()
    return (values.float() * mask).sum() / mask.sum().clamp(min=1)


def masked_whiten(values: torch.Tensor, mask: torch.Tensor, *, shift_mean: bool = True) -> torch.Tensor:
    """(values − mean) / std over the real tokens, 0 elsewhere; `shift_mean=False` adds the mean back."""
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    whitened = (values - mean) * torch.rsqrt(variance + 1e-8)
    return (whitened if shift_mean else whitened + mean) * mask


def token_rewards(scores: torch.Tensor, kl: torch.Tensor, mask: torch.Tensor, kl_coef: float) -> torch.Tensor:
    """Rewards (B, T+1): −β·kl_t for token t, and the score (B,) one past the last token, in the state after it.

    Ziegler et al. (2019), equation 2; the place of the score after Huang et al. (2024): the value function then learns
    the score itself as the value of a whole response.
    """
    rewards = torch.cat([-kl_coef * kl * mask, torch.zeros_like(kl[:, :1])], 1)
    rows = torch.arange(mask.shape[0], device=mask.device)
    rewards[rows, mask.sum(-1).long()] = scores
    return rewards


def step_rewards(probabilities: torch.Tensor, ends: torch.Tensor, weight: float) -> torch.Tensor:
    """Rewards (B, T+1) of the steps: w·p_k / K for the token that ends step k of K, else 0. A response's sum up to w times
    the mean of its p_k, so that more steps alone earn nothing. `probabilities` (B, T), `ends` (B, T): 1 where a step ends.

    Rewards at the ends of steps after Uesato et al. (2022) and Wang et al. (2024, "Math-Shepherd"), who do not divide.
    """
    ends = ends.float()
    rewards = weight * probabilities * ends / ends.sum(1, keepdim=True).clamp(min=1)
    return torch.cat([rewards, torch.zeros_like(rewards[:, :1])], 1)


def gae(
    rewards: torch.Tensor, values: torch.Tensor, state_mask: torch.Tensor, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(advantages, returns), each (B, T+1): δ_t = r_t + γ V_{t+1} − V_t, A_t = δ_t + γλ A_{t+1}, R_t = A_t + V_t.

    Nothing follows the last state: the episode ends there. Schulman et al. (2016), equation 16.
    """
    values = values * state_mask
    advantages = torch.zeros_like(rewards)
    following = torch.zeros(rewards.shape[0], dtype=rewards.dtype, device=rewards.device)
    for t in reversed(range(rewards.shape[1])):
        next_value = values[:, t + 1] if t + 1 < rewards.shape[1] else torch.zeros_like(following)
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = (delta + gamma * lam * following) * state_mask[:, t]
        advantages[:, t] = following
    return advantages, advantages + values


def policy_loss(
    logprobs: torch.Tensor, old_logprobs: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor, clip: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(loss, ratio, clipped), each (B, T): −min(ρA, clip(ρ, 1 ± ε)A), ρ = π/π_old, and where the clip took hold; 0 on
    padding, where the ratio is 1. Schulman et al. (2017), equation 7."""
    ratio = torch.exp((logprobs - old_logprobs) * mask)
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip, 1 + clip)
    return torch.maximum(unclipped, clipped) * mask, ratio, (clipped > unclipped).float() * mask


def value_loss(
    values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, state_mask: torch.Tensor, clip: float
) -> torch.Tensor:
    """(B, T+1): ½ max((V − R)², (clip(V, V_old ± ε) − R)²), as in the code of Schulman et al. (2017)."""
    near = torch.clamp(values, old_values - clip, old_values + clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (near - returns) ** 2) * state_mask
