"""Scorers: what a reward model, or several, say of the responses of a rollout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from tasks.rlhf.ensembles import Rule
from tasks.rlhf.length_effect import less_length
from tasks.rlhf.packing import transformer
from tasks.rlhf.ppo import Scorer, StepScorer
from tasks.rlhf.process_reward import NEWLINE, right_head
from tasks.rlhf.rollout import Rollout, response_scores, response_values, score_head
from tasks.rlhf.welfare import combined

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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


def step_scorer(process_model: Any, tokenizer: PreTrainedTokenizerBase) -> StepScorer:
    """What the process model says of each line of a response, at the token that ends it (see `step_ends`)."""
    head, ends_line = right_head(transformer(process_model)), newline_tokens(tokenizer)

    def scorer(rollout: Rollout) -> tuple[torch.Tensor, torch.Tensor]:
        return response_values(process_model, head, rollout)[:, 1:], step_ends(rollout, ends_line)

    return scorer


def newline_tokens(tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """(vocabulary,) bool: whether a token ends a line."""
    texts = tokenizer.batch_decode([[i] for i in range(len(tokenizer))])
    return torch.tensor([NEWLINE in text for text in texts])


def step_ends(rollout: Rollout, ends_line: torch.Tensor) -> torch.Tensor:
    """(B, T) bool: tokens that end a step of a response: those with a newline, and the last one. Of several in a row, which
    leave nothing between them, the last counts alone, so that empty lines earn nothing."""
    real = rollout.mask.bool()
    last = real & ~_following(real)
    known = rollout.response_ids.clamp(max=len(ends_line) - 1)  # a vocabulary may have spare rows
    newline = ends_line.to(known.device)[known] & real
    stop = last & rollout.ended[:, None]
    return newline & ~_following(newline | stop) | last


def _following(tokens: torch.Tensor) -> torch.Tensor:
    """(B, T) bool: whether the next token is one of `tokens`."""
    return torch.cat([tokens[:, 1:], torch.zeros_like(tokens[:, :1])], 1)
