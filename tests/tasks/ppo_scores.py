"""What PPO's scorer says of responses, in a project folder whose stages until `reward` have run."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from tasks import params
from tasks.methods import ppo
from tasks.rlhf.models import load_tokenizer
from tasks.rlhf.rollout import sample


def scored_by_ppo(prompts: Sequence[list[int]]) -> tuple[list[list[int]], torch.Tensor]:
    """(token ids of a sampled conversation of each prompt, scores (B,)); in the folder where this runs."""
    stage: Any = SimpleNamespace(params=params.load(Path("params.yaml")), seed=7)
    trainer = ppo.trainer_of(stage, load_tokenizer(Path("data/models/sft")))
    given: dict[str, Any] = {"pad_token_id": 0, "stop_token_id": 1, "max_new_tokens": 4, "temperature": 1.0}
    rollout = sample(trainer.policy, prompts, generator=torch.Generator().manual_seed(0), **given)
    kept = torch.cat([rollout.prompt_mask, rollout.mask.long()], 1).bool()
    ids = torch.cat([rollout.prompt_ids, rollout.response_ids], 1)
    with torch.no_grad():
        scores = trainer.scorer(rollout).cpu()
    return [row[real].tolist() for row, real in zip(ids, kept, strict=True)], scores
