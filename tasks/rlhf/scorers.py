"""Scorers: what a reward model, or several, say of the responses of a rollout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from tasks.rlhf.ppo import Scorer
from tasks.rlhf.rollout import Rollout, response_scores, score_head


def reward_scorer(reward_model: Any) -> Scorer:
    """Scorer that reads the reward model at the last real token of each conversation."""
    head = score_head(reward_model)

    def scorer(rollout: Rollout) -> torch.Tensor:
        return response_scores(reward_model, head, rollout)

    return scorer


def ensemble(scorers: Sequence[Scorer], combine: Callable[[torch.Tensor], torch.Tensor]) -> Scorer:
    """One scorer of several; `combine` makes scores (B,) of theirs (M, B)."""

    def scorer(rollout: Rollout) -> torch.Tensor:
        return combine(torch.stack([s(rollout) for s in scorers]))

    return scorer


def ensemble_mean(scores: torch.Tensor) -> torch.Tensor:
    """Mean of the members."""
    return scores.mean(0)


def worst_case(scores: torch.Tensor) -> torch.Tensor:
    """Lowest of the members: what no member doubts. Coste et al. (2023), worst-case optimization."""
    return scores.amin(0)


def mean_minus_variance(weight: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Mean less `weight` times the variance between the members. Coste et al. (2023), uncertainty-weighted
    optimization."""

    def combine(scores: torch.Tensor) -> torch.Tensor:
        return scores.mean(0) - weight * scores.var(0, unbiased=False)

    return combine
