"""The PPO loop on a tiny model: first ratio, microbatches, frozen reference, and that it learns what is rewarded."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tasks.rlhf.models import load_causal_lm, new_reward_model
from tasks.rlhf.ppo import PpoTrainer
from tasks.rlhf.rollout import Rollout

SETTINGS = {
    "episodes": 64,
    "batch": 32,
    "minibatch": 16,
    "microbatch": 8,
    "epochs": 2,
    "learning_rate": 1e-3,
    "kl_coef": 0.05,
    "gamma": 1.0,
    "lam": 0.95,
    "clip_range": 0.2,
    "clip_range_value": 0.2,
    "value_coef": 0.1,
    "max_grad_norm": 1.0,
    "temperature": 1.0,
    "max_new_tokens": 8,
    "missing_eos_penalty": 0.0,
    "whiten_rewards": False,
    "bf16": False,
}
PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12], [13], [14, 15]] * 8
LIKED = 256  # the scorer counts tokens from here on: half of the vocabulary


def liked_tokens(rollout: Rollout) -> torch.Tensor:
    return ((rollout.response_ids >= LIKED) * rollout.mask).sum(1) / rollout.mask.sum(1)


def trainer(folder: Path, seed: int = 0, **changed: Any) -> PpoTrainer:
    torch.manual_seed(0)
    return PpoTrainer(
        load_causal_lm(folder),
        load_causal_lm(folder),
        new_reward_model(folder, 0, 0),
        liked_tokens,
        SimpleNamespace(**SETTINGS | changed),
        pad_token_id=0,
        stop_token_id=1,
        seed=seed,
    )


def test_ratio_is_one_at_the_first_minibatch(tiny_model_folder: Path) -> None:
    first = next(trainer(tiny_model_folder).train(PROMPTS))
    assert first["val/first_ratio"] == pytest.approx(1, abs=1e-5)
    assert first["objective/kl"] == pytest.approx(0, abs=1e-4)  # the policy is the reference still


def test_result_does_not_depend_on_the_microbatch(tiny_model_folder: Path) -> None:
    whole, parts = (trainer(tiny_model_folder, microbatch=m, episodes=32, epochs=1) for m in (16, 3))
    histories = [list(t.train(PROMPTS)) for t in (whole, parts)]
    assert histories[0][0] == pytest.approx(histories[1][0], abs=1e-4)
    for a, b in zip(whole.policy.parameters(), parts.policy.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_same_seed_same_bytes_and_the_reference_stays(tiny_model_folder: Path) -> None:
    one, two = trainer(tiny_model_folder), trainer(tiny_model_folder)
    before = [p.clone() for p in one.reference.parameters()]
    assert list(one.train(PROMPTS)) == list(two.train(PROMPTS))
    assert all(torch.equal(a, b) for a, b in zip(one.policy.parameters(), two.policy.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, one.reference.parameters(), strict=True))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_learns_what_is_rewarded(tiny_model_folder: Path, seed: int) -> None:
    settings = {"episodes": 32 * 40, "learning_rate": 5e-3, "kl_coef": 0.0, "max_new_tokens": 4}
    history = list(trainer(tiny_model_folder, seed, **settings).train(PROMPTS))
    assert history[-1]["objective/scores"] > history[0]["objective/scores"] + 0.15
    assert history[-1]["objective/kl"] > 0


def test_a_strong_kl_penalty_holds_the_policy_back(tiny_model_folder: Path) -> None:
    settings = {"episodes": 32 * 12, "learning_rate": 5e-3}
    free, held = (
        list(trainer(tiny_model_folder, **settings, kl_coef=coef).train(PROMPTS))[-1]["objective/kl"]
        for coef in (0.0, 2.0)
    )
    assert held < 0.5 * free


def test_a_loss_that_is_not_finite_stops_it(tiny_model_folder: Path) -> None:
    t = trainer(tiny_model_folder)
    t.scorer = lambda r: torch.full((r.mask.shape[0],), float("nan"))
    with pytest.raises(FloatingPointError):
        next(t.train(PROMPTS))
