"""Ensembles of reward models (Coste et al. 2023, "Reward Model Ensembles Help Mitigate Overoptimization").

On the disk an ensemble is the folder of its first member, with the others in `member-2`, `member-3`, … inside it and
the rule in `ensemble.json`: one folder, one digest. A folder without that file is an ensemble of one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from tasks.rlhf.branches import answer_scores
from tasks.rlhf.models import load_reward_heads, load_reward_model
from tasks.rlhf.precision import Bf16, autocast

RULE = "ensemble.json"
Rule = Callable[[torch.Tensor], torch.Tensor]


class EnsembleSettings(Protocol):
    """`reward.ensemble` of params.yaml."""

    members: int
    rule: Literal["mean", "worst", "mean_minus_variance"]
    variance_weight: float


@dataclass(frozen=True)
class Ensemble:
    """Reward models, and the rule that makes scores (B,) of theirs (M, B)."""

    members: list[Any]
    combine: Rule


def mean(scores: torch.Tensor) -> torch.Tensor:
    """Mean of the members."""
    return scores.mean(0)


def worst_case(scores: torch.Tensor) -> torch.Tensor:
    """Lowest of the members: what no member doubts. Coste et al. (2023), worst-case optimization."""
    return scores.amin(0)


def mean_minus_variance(weight: float) -> Rule:
    """Mean less `weight` times the variance between the members. Coste et al. (2023), uncertainty-weighted
    optimization."""

    def combine(scores: torch.Tensor) -> torch.Tensor:
        return scores.mean(0) - weight * scores.var(0, unbiased=False)

    return combine


def member_folder(folder: Path, member: int) -> Path:
    """Folder of a member, counted from 1."""
    return folder if member == 1 else folder / f"member-{member}"


def save_rule(folder: Path, settings: EnsembleSettings) -> None:
    """Say in the folder of an ensemble's first member how many there are, and how they are combined."""
    content = {"members": settings.members, "rule": settings.rule, "variance_weight": settings.variance_weight}
    (folder / RULE).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load_ensemble(folder: Path, *, heads_apart: bool = False, trust_remote_code: bool = False) -> Ensemble:
    """The reward model in `folder`, or all members and the rule of an ensemble; with `heads_apart` the rule is for each
    head."""
    file = folder / RULE
    kept: dict[str, Any] = {"members": 1, "rule": "mean", "variance_weight": 0.0}
    if file.is_file():
        kept = json.loads(file.read_text(encoding="utf-8"))
    rules = {"mean": mean, "worst": worst_case, "mean_minus_variance": mean_minus_variance(kept["variance_weight"])}
    folders = [member_folder(folder, k) for k in range(1, kept["members"] + 1)]
    load = load_reward_heads if heads_apart else load_reward_model
    return Ensemble([load(f, trust_remote_code=trust_remote_code) for f in folders], rules[kept["rule"]])


def ensemble_scores(
    ensemble: Ensemble,
    rows: Sequence[Sequence[int]],
    *,
    lengths: Sequence[float] | torch.Tensor | None = None,
    bf16: Bf16 = False,
) -> torch.Tensor:
    """Scores (N,) in fp32 of conversations as token ids, by the rule; (N, C) of C heads apart. `lengths` (N,): tokens of the
    responses in them."""
    return ensemble.combine(member_scores(ensemble, rows, lengths=lengths, bf16=bf16))


def member_scores(
    ensemble: Ensemble,
    rows: Sequence[Sequence[int]],
    *,
    lengths: Sequence[float] | torch.Tensor | None = None,
    bf16: Bf16 = False,
    advance: Callable[[int], object] | None = None,
) -> torch.Tensor:
    """What each member says (M, N), before the rule; (M, N, C) of C heads apart. `advance` is told how many rows a member
    has scored."""
    scores = []
    for member in ensemble.members:
        with autocast(bf16, member.device):
            scores.append(answer_scores(member, rows, lengths, advance))
    return torch.stack(scores)
