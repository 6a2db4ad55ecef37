"""With adapters the reference is the policy without them: in PPO, and where a direct method is watched."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from tasks.rlhf.models import with_lora
from tasks.rlhf.policy_watch import watched
from tasks.rlhf.rollout import response_logprobs
from tests.tasks.rlhf.test_ppo import PROMPTS, STOP, that_ends, trainer


def with_adapters(folder: Path) -> Any:
    """The model with adapters that have learned something."""
    policy = with_lora(that_ends(folder), SimpleNamespace(rank=4, alpha=8, dropout=0.0), "CAUSAL_LM", 3)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(len(name)))
    return policy


def test_the_reference_is_the_policy_without_its_adapters(tiny_model_folder: Path) -> None:
    t = trainer(tiny_model_folder)
    t.policy, t.reference = with_adapters(tiny_model_folder), None
    experience = t.collect(PROMPTS)
    alone = that_ends(tiny_model_folder)
    with torch.no_grad():
        expected = response_logprobs(alone, experience.rollout, 1.0)
    difference = (experience.rollout.logprobs - expected) * experience.rollout.mask
    assert float(difference.abs().mean()) > 0.01
    torch.testing.assert_close(experience.kl, difference, rtol=1e-3, atol=1e-5)
    seen = [
        watched(
            t.policy,
            reference,
            t.scorer,
            PROMPTS,
            t.settings,
            pad_token_id=0,
            stop_token_id=STOP,
            seed=0,
            bf16=False,
        )[3]
        for reference in (alone, None)
    ]
    assert float(seen[0].abs().mean()) > 0.01
    torch.testing.assert_close(seen[1], seen[0], rtol=1e-3, atol=1e-5)
