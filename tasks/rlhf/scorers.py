"""Scorers: what a reward model, or several, say of the responses of a rollout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tasks.rlhf.ensembles import Rule
from tasks.rlhf.length_effect import less_length
from tasks.rlhf.packing import transformer
from tasks.rlhf.ppo import Scorer
from tasks.rlhf.rollout import Rollout, response_scores, score_head
from tasks.rlhf.welfare import combined


def reward_scorer(reward_model: Any) -> Scorer:
    """Scorer that reads the reward model at the last real token of each conversation, less its length effect, if any;
    several heads by the rule that is stored with them."""
    head, config = score_head(reward_model), transformer(reward_model).config

    def scorer(rollout: Rollout) -> torch.Tensor:
        return combined(less_length(response_scores(reward_model, head, rollout), config, rollout.mask.sum(1)), config)

    return scorer


def ensemble(scorers: Sequence[Scorer], combine: Rule) -> Scorer:
    """One scorer of several; `combine` makes scores (B,) of theirs (M, B)."""

    def scorer(rollout: Rollout) -> torch.Tensor:
        return combine(torch.stack([s(rollout) for s in scorers]))

    return scorer
