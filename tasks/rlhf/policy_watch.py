"""What becomes of a policy under training: KL to the reference, score, length and entropy of responses that it samples."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import torch

from tasks.rlhf.device_memory import Tokens, tokens_at_once
from tasks.rlhf.packing import transformer
from tasks.rlhf.ppo import Scorer
from tasks.rlhf.ppo_losses import masked_mean, score_without_end
from tasks.rlhf.precision import Bf16, autocast
from tasks.rlhf.rollout import Rollout, response_logprobs, sample, token_groups


class SamplingSettings(Protocol):
    """How PPO samples and scores: of `ppo` in params.yaml."""

    temperature: float
    max_new_tokens: int
    microbatch_tokens: Tokens
    missing_eos_score: float | None
    missing_eos_penalty: float


@torch.no_grad()
def watched(
    policy: Any,
    reference: Any | None,
    scorer: Scorer,
    prompts: Sequence[Sequence[int]],
    settings: SamplingSettings,
    *,
    pad_token_id: int,
    stop_token_id: int,
    seed: int,
    bf16: Bf16,
) -> tuple[dict[str, float], Rollout, torch.Tensor, torch.Tensor]:
    """(metrics under PPO's names, responses (B), scores (B,), KL (B,) in nats) of one response to each prompt.

    `reference` None: the policy without its adapters. The global generators are left as they were.
    """
    device = transformer(policy).device
    with autocast(bf16, device):
        rollout = sample(
            policy,
            prompts,
            pad_token_id=pad_token_id,
            stop_token_id=stop_token_id,
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            generator=torch.Generator().manual_seed(seed),
        )
        scores, kl = (torch.zeros(len(prompts), device=device) for _ in range(2))
        for group in token_groups(rollout.lengths, tokens_at_once(policy, settings.microbatch_tokens)):
            part = rollout.rows(torch.tensor(group, device=device))
            with policy.disable_adapter() if reference is None else nullcontext():
                other = response_logprobs(policy if reference is None else reference, part, settings.temperature)
            kl[group] = ((part.logprobs - other) * part.mask).sum(1)
            scores[group] = scorer(part).float()
    scores = score_without_end(scores, rollout.ended, settings.missing_eos_score, settings.missing_eos_penalty)
    metrics = {
        "objective/kl": float(kl.mean()),
        "objective/scores": float(scores.mean()),
        "policy/entropy_avg": float(masked_mean(rollout.entropy, rollout.mask)),
        "val/response_length": float(rollout.mask.sum(1).mean()),
        "val/eos_share": float(rollout.ended.float().mean()),
    }
    return metrics, rollout, scores, kl
