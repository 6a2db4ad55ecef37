"""Ensembles of reward models: trained alike but for their seed, and combined so that what they disagree on pays less.

Source: Coste et al. (2023), "Reward Model Ensembles Help Mitigate Overoptimization". The folder of an ensemble is that of
its first member, with the others in `member-2`, `member-3`, … and the rule in `ensemble.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from tasks.rlhf.models import load_reward_model, score_conversations

RECORD = "ensemble.json"
Rule = Literal["mean", "worst", "mean_minus_variance"]
Combine = Callable[[torch.Tensor], torch.Tensor]


def ensemble_mean(scores: torch.Tensor) -> torch.Tensor:
    """Mean of the members, (B,) of scores (M, B)."""
    return scores.mean(0)


def worst_case(scores: torch.Tensor) -> torch.Tensor:
    """Lowest of the members: what no member doubts. Coste et al. (2023), worst-case optimization."""
    return scores.amin(0)


def mean_minus_variance(weight: float) -> Combine:
    """Mean less `weight` times the variance between the members. Coste et al. (2023), uncertainty-weighted
    optimization."""

    def combine(scores: torch.Tensor) -> torch.Tensor:
        return scores.mean(0) - weight * scores.var(0, unbiased=False)

    return combine


def member_folder(folder: Path, number: int) -> Path:
    """Where member `number` lies; the first is the folder itself."""
    return folder if number == 1 else folder / f"member-{number}"


@dataclass(frozen=True)
class RewardModels:
    """The members, all with dropout off, and what makes one score of theirs."""

    members: list[Any]
    combine: Combine

    def score(self, rows: list[list[int]], pad_token_id: int, *, bf16: bool = False) -> torch.Tensor:
        """Scores (N,) in fp32 of conversations as token ids."""
        return self.combine(torch.stack([score_conversations(m, rows, pad_token_id, bf16=bf16) for m in self.members]))


def load_reward_models(folder: Path, *, trust_remote_code: bool = False) -> RewardModels:
    """One reward model as an ensemble of one, or all members of an ensemble."""
    record = folder / RECORD
    rule = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {"members": 1, "rule": "mean"}
    combine: dict[Rule, Combine] = {
        "mean": ensemble_mean,
        "worst": worst_case,
        "mean_minus_variance": mean_minus_variance(rule.get("variance_weight", 0.0)),
    }
    numbers = range(1, rule["members"] + 1)
    members = [load_reward_model(member_folder(folder, n), trust_remote_code=trust_remote_code) for n in numbers]
    return RewardModels(members, combine[rule["rule"]])
