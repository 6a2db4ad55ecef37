"""Continuations read as branches of one context, against each (context, continuation) read alone."""

from pathlib import Path

import pytest
import torch

from tasks.rlhf.branches import (
    continuation_logprobs,
    conversation_scores,
    conversation_states,
    scores_at_once,
    shared_prefixes,
)
from tasks.rlhf.models import load_causal_lm, new_reward_model
from tasks.rlhf.rollout import score_head
from tests.tasks.scored_alone import scored_alone

ITEMS = [
    ([5, 9, 11, 40], [[7], [8], [9, 10, 12]]),
    ([3], [[20, 21], [22, 23, 24, 25], [20, 26]]),
    ([60, 61, 62, 63, 64, 65, 66], [[1, 2]]),
]


@pytest.mark.parametrize("budget", [1, 2048])
def test_the_same_as_each_continuation_alone(tiny_model_folder: Path, budget: int) -> None:
    model = load_causal_lm(tiny_model_folder).eval()
    found = continuation_logprobs(model, ITEMS, budget=budget)
    for (context, continuations), sums in zip(ITEMS, found, strict=True):
        for continuation, value in zip(continuations, sums, strict=True):
            with torch.no_grad():
                logits = model(torch.tensor([[*context, *continuation]])).logits[0].log_softmax(-1)
            alone = sum(float(logits[len(context) - 1 + i, t]) for i, t in enumerate(continuation))
            assert value == pytest.approx(alone, abs=1e-4)


def test_scores_with_shared_beginnings_are_those_of_each_conversation_alone(tiny_model_folder: Path) -> None:
    model = new_reward_model(tiny_model_folder, pad_token_id=0, seed=1).eval()
    model.config.reward_offset = 0.25
    prompt = list(range(10, 40))
    rows = [[*prompt, 50, 51], [7, 8], [*prompt, 50, 52, 53], prompt, [*prompt, 60], [7, 8], [9]]
    alone = scored_alone(model, rows)
    for budget in (1, 2048):
        assert torch.allclose(conversation_scores(model, score_head(model), rows, budget=budget), alone, atol=1e-5)


@torch.no_grad()
def test_states_of_every_layer_are_those_of_each_conversation_alone(tiny_model_folder: Path) -> None:
    model = new_reward_model(tiny_model_folder, pad_token_id=0, seed=1).eval()
    prompt = list(range(10, 40))
    rows = [[*prompt, 50, 51], [7, 8], [*prompt, 50, 52, 53], prompt, [7, 8], [9]]
    for budget in (1, 2048):
        found = conversation_states(model, rows, budget)
        for row, layers in zip(rows, found, strict=True):
            alone = model.base_model(torch.tensor([row]), output_hidden_states=True).hidden_states
            torch.testing.assert_close(layers, torch.cat([h[0, -1:] for h in alone]), rtol=1e-4, atol=1e-5)


def test_gradients_of_shared_beginnings_are_those_of_conversations_alone(tiny_model_folder: Path) -> None:
    model = new_reward_model(tiny_model_folder, pad_token_id=0, seed=1).train()
    prompt = list(range(10, 40))
    rows = [[*prompt, 50, 51], [7, 8], [*prompt, 50, 52, 53], [9, *prompt], prompt]
    slope = torch.tensor([1.0, -2.0, 0.5, 3.0, -1.0])
    together = scores_at_once(model, score_head(model), rows)
    alone = scored_alone(model, rows, gradients=True)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    for a, b in zip(
        *(torch.autograd.grad((s * slope).sum(), list(model.parameters())) for s in (together, alone)), strict=True
    ):
        assert torch.allclose(a, b, atol=1e-4 * float(b.abs().max()))


def test_groups_hold_every_row_once_and_what_they_share() -> None:
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(0, 9, (20,), generator=generator).tolist() for _ in range(5)]
    rows = [[*prompts[i % 5], *torch.randint(0, 9, (6,), generator=generator).tolist()] for i in range(40)]
    groups = shared_prefixes(rows, width=100)
    assert sorted(i for members, _ in groups for i in members) == list(range(40))
    for members, shared in groups:
        assert len({tuple(rows[i][:shared]) for i in members}) == 1
        assert shared + sum(len(rows[i]) - shared for i in members) <= 100
    assert len(groups) == 5
