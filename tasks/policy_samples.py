"""Responses of a policy under training as rows of the table that the stage `ppo` leaves in its report and in MLflow."""

from typing import Any

import torch

from tasks.rlhf.rollout import Rollout

SHOWN = 32  # responses, each time: enough for `tasks.evals.training` to see where gold and proxy part


def sample_rows(
    step: int, rollout: Rollout, scores: torch.Tensor, kl: torch.Tensor, tokenizer: Any
) -> list[dict[str, Any]]:
    """The first few responses after a step, with their scores (B,) and KL (B,) in nats."""
    return [
        {
            "step": step,
            "prompt": tokenizer.decode(rollout.prompt_ids[i][rollout.prompt_mask[i].bool()]),
            "response": tokenizer.decode(rollout.response_ids[i][rollout.mask[i].bool()], skip_special_tokens=True),
            "score": float(scores[i]),
            "kl": float(kl[i]),
            "tokens": int(rollout.mask[i].sum()),
            "ended": bool(rollout.ended[i]),
        }
        for i in range(min(SHOWN, len(scores)))
    ]
