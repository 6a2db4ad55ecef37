"""The PPO loop on a tiny model: first ratio, microbatches, frozen reference, and that it learns what is rewarded."""

import gc
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tasks.rlhf.models import load_causal_lm, new_reward_model, with_lora
from tasks.rlhf.ppo import Diverged, PpoTrainer, describe
from tasks.rlhf.rollout import Rollout

SETTINGS = {
    "episodes": 64,
    "batch": 32,
    "minibatch": 16,
    "microbatch_tokens": 80,
    "epochs": 2,
    "learning_rate": 1e-3,
    "value": "separate",
    "value_coef": 0.1,
    "kl_coef": 0.05,
    "kl_estimator": "k1",
    "kl_target": None,
    "kl_horizon": 10000,
    "kl_budget": None,
    "max_kl": 1000.0,
    "min_entropy": 0.0,
    "gamma": 1.0,
    "lam": 0.95,
    "clip_range": 0.2,
    "clip_range_value": 0.2,
    "max_grad_norm": 1.0,
    "temperature": 1.0,
    "max_new_tokens": 8,
    "missing_eos_score": None,
    "missing_eos_penalty": 0.0,
    "step_rewards": 0.0,
    "whiten_rewards": False,
    "bf16": False,
}
PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12], [13], [14, 15]] * 8
STOP = 1
WHOLE = 10_000  # tokens of a microbatch that holds a whole batch: for what takes many steps, whatever the microbatch is
LIKED = 256  # the scorer counts tokens from here on: half of the vocabulary


def liked_tokens(rollout: Rollout) -> torch.Tensor:
    return ((rollout.response_ids >= LIKED) * rollout.mask).sum(1) / rollout.mask.sum(1)


def that_ends(folder: Path) -> Any:
    """The model, which often says the stop token: among its answers are short ones and such that were cut."""
    model = load_causal_lm(folder)
    model.get_output_embeddings().weight.data[STOP] *= 30
    return model


def trainer(folder: Path, seed: int = 0, prepare: Callable[[Any], Any] = lambda m: m, **changed: Any) -> PpoTrainer:
    settings = SimpleNamespace(**SETTINGS | changed)
    return PpoTrainer(
        prepare(that_ends(folder)),
        prepare(that_ends(folder)),
        prepare(new_reward_model(folder, 0, 0)) if settings.value == "separate" else None,
        liked_tokens,
        settings,
        pad_token_id=0,
        stop_token_id=STOP,
        seed=seed,
        step_scorer=every_other_token,
    )


def every_other_token(rollout: Rollout) -> tuple[torch.Tensor, torch.Tensor]:
    """Steps of two tokens each, right with the probability id / 512."""
    ends = rollout.mask.bool().clone()
    ends[:, ::2] = False
    return rollout.response_ids / 512, ends


VALUES = pytest.mark.parametrize("value", ["separate", "shared"])


@VALUES
def test_ratio_is_one_at_the_first_minibatch(tiny_model_folder: Path, value: str) -> None:
    t = trainer(tiny_model_folder, value=value, temperature=0.7)
    first = next(t.train(PROMPTS))
    assert t.experience is not None and {3, 8} <= set(t.experience.rollout.mask.sum(1).tolist())
    assert first["val/first_ratio"] == pytest.approx(1, abs=1e-5)
    assert first["objective/kl"] == pytest.approx(0, abs=1e-4)  # the policy is the reference still


def test_logits_of_policy_and_reference_are_divided_by_the_temperature(tiny_model_folder: Path) -> None:
    """Against the ordinary way, one row alone; policy and reference differ, so that neither hides the other."""
    t = trainer(tiny_model_folder, temperature=0.5)
    for model, seed in ((t.policy, 1), (t.reference, 2)):
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    experience = t.collect(PROMPTS)
    rollout = experience.rollout
    for row in range(4):
        prompt = rollout.prompt_ids[row][rollout.prompt_mask[row].bool()]
        answer = rollout.response_ids[row][rollout.mask[row].bool()]
        with torch.no_grad():
            logits = [
                m(torch.cat([prompt, answer])[None]).logits[0, len(prompt) - 1 : -1] for m in (t.policy, t.reference)
            ]
        own, other = ((x / 0.5).log_softmax(-1).gather(1, answer[:, None])[:, 0] for x in logits)
        assert torch.allclose(rollout.logprobs[row, : len(answer)], own, atol=1e-5)
        assert torch.allclose(experience.kl[row, : len(answer)], own - other, atol=1e-5)
        assert (own - other).abs().max() > 1e-2


def test_steps_are_rewarded_where_they_end(tiny_model_folder: Path) -> None:
    """At a weight of 0 nothing changes and nobody is asked; at .5 the ends of steps get half of the probability over the number of
    steps, on top of the rest, whatever the microbatches are."""
    plain, *with_steps = (
        trainer(tiny_model_folder, step_rewards=w, microbatch_tokens=m).collect(PROMPTS)
        for w, m in ((0.0, 80), (0.5, 80), (0.5, 10_000))
    )
    assert plain.steps is None and "objective/step_rewards" not in describe(plain)
    for experience in with_steps:
        rollout = experience.rollout
        assert torch.equal(rollout.response_ids, plain.rollout.response_ids)
        probabilities, ends = every_other_token(rollout)
        counts = ends.sum(1).clamp(min=1)
        added = experience.rewards - plain.rewards
        assert torch.allclose(added[:, :-1], 0.5 * probabilities * ends / counts[:, None], atol=1e-6)
        assert torch.equal(added[:, -1], torch.zeros(len(PROMPTS)))
        assert (added > 0).any(1).sum() > 20 and not torch.allclose(experience.returns, plain.returns, atol=1e-2)
        told = describe(experience)
        assert told["objective/step_rewards"] == pytest.approx(float(added.sum(1).mean()), abs=1e-6)
        assert told["objective/scores"] == pytest.approx(describe(plain)["objective/scores"])
    t = trainer(tiny_model_folder, episodes=32)
    t.step_scorer = None
    (without,), (asked,) = list(t.train(PROMPTS)), list(trainer(tiny_model_folder, episodes=32).train(PROMPTS))
    assert without == asked


@VALUES
def test_result_does_not_depend_on_the_microbatch(tiny_model_folder: Path, value: str) -> None:
    """One step; plain gradient descent would show a difference that Adam's normalised step hides or blows up."""
    grown = []
    for budget in (10_000, 20):
        t = trainer(tiny_model_folder, microbatch_tokens=budget, value=value, max_new_tokens=8)
        t.optimizer = torch.optim.SGD([p for _, p in t._trainable()], lr=0.1)
        experience = t.collect(PROMPTS)
        steps = t._step(experience, torch.arange(16))
        grown.append((t, {k: float(v) for k, v in steps.items()}))
    assert len(grown[1][0]._parts(experience.rollout, torch.arange(32))) > 8
    assert grown[0][1] == pytest.approx(grown[1][1], abs=1e-5)
    for (_, a), (_, b) in zip(grown[0][0]._trainable(), grown[1][0]._trainable(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_same_seed_same_bytes_and_the_reference_stays(tiny_model_folder: Path) -> None:
    one, two = trainer(tiny_model_folder), trainer(tiny_model_folder)
    before = [p.clone() for p in one.reference.parameters()]
    assert list(one.train(PROMPTS)) == list(two.train(PROMPTS))
    assert all(torch.equal(a, b) for a, b in zip(one.policy.parameters(), two.policy.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, one.reference.parameters(), strict=True))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_learns_what_is_rewarded(tiny_model_folder: Path, seed: int) -> None:
    settings = {"episodes": 32 * 40, "learning_rate": 5e-3, "kl_coef": 0.0, "max_new_tokens": 4}
    settings |= {"value": ("separate", "shared")[seed % 2], "microbatch_tokens": WHOLE}
    history = list(trainer(tiny_model_folder, seed, **settings).train(PROMPTS))
    assert history[-1]["objective/scores"] > history[0]["objective/scores"] + 0.15
    assert history[-1]["objective/kl"] > 0


def test_a_strong_kl_penalty_holds_the_policy_back(tiny_model_folder: Path) -> None:
    settings = {"episodes": 32 * 25, "learning_rate": 5e-3, "microbatch_tokens": WHOLE}
    free, held = (
        [m["objective/kl"] for m in trainer(tiny_model_folder, **settings, kl_coef=coef).train(PROMPTS)]
        for coef in (0.0, 2.0)
    )
    assert sum(held[-10:]) < 0.6 * sum(free[-10:])


def test_a_loss_that_is_not_finite_stops_it(tiny_model_folder: Path) -> None:
    t = trainer(tiny_model_folder)
    t.scorer = lambda r: torch.full((r.mask.shape[0],), float("nan"))
    with pytest.raises(Diverged, match="no longer finite"):
        next(t.train(PROMPTS))


def test_two_trainings_in_one_process_share_nothing(tiny_model_folder: Path) -> None:
    """Also of different precision, which is a setting of the whole process where the library keeps it."""
    alone = list(trainer(tiny_model_folder, 3).train(PROMPTS))
    one, other = trainer(tiny_model_folder, 3), trainer(tiny_model_folder, 4, bf16=True)
    steps = list(zip(one.train(PROMPTS), other.train(PROMPTS), strict=True))
    assert [a for a, _ in steps] == alone
    assert alone[0] != steps[0][1]


@VALUES
def test_a_training_goes_on_from_its_state_bit_for_bit(tiny_model_folder: Path, value: str) -> None:
    settings = {"episodes": 32 * 4, "value": value, "kl_target": 0.01, "kl_horizon": 50}
    whole, first, second = (trainer(tiny_model_folder, **settings) for _ in range(3))
    prompts = PROMPTS[:20]  # of which a batch takes one and a half passes
    history = list(whole.train(prompts))
    begun = first.train(prompts)
    part = [next(begun), next(begun)]
    tensors, record = first.state()
    torch.rand(3)
    second.restore({k: v.clone() for k, v in tensors.items()}, json.loads(json.dumps(record)))
    next(begun)  # what goes on elsewhere does not matter
    assert part + list(second.train(prompts)) == history
    assert len({m["objective/kl_coef"] for m in history}) == 4
    for (_, a), (_, b) in zip(whole._trainable(), second._trainable(), strict=True):
        assert torch.equal(a, b)


def test_training_ends_when_the_kl_budget_is_spent(tiny_model_folder: Path) -> None:
    settings = {"episodes": 32 * 40, "learning_rate": 5e-3, "kl_coef": 0.0, "kl_budget": 0.5}
    t = trainer(tiny_model_folder, **settings)
    before: list[torch.Tensor] = []
    history = []
    for metrics in t.train(PROMPTS):
        history.append(metrics)
        if not t.stopped:
            before = [p.clone() for p in t.policy.parameters()]
    assert 1 < len(history) < 40
    assert all(m["objective/kl"] < 0.5 for m in history[:-1]) and history[-1]["objective/kl"] >= 0.5
    assert "loss/policy_avg" not in history[-1]
    assert all(torch.equal(a, b) for a, b in zip(before, t.policy.parameters(), strict=True))
    assert not list(t.train(PROMPTS))  # nor does it go on when asked again
    again = trainer(tiny_model_folder, **settings)
    again.restore(*t.state())
    assert not list(again.train(PROMPTS))  # nor from what was kept


@pytest.mark.parametrize(
    ("changed", "reason"), [({"max_kl": 0.05}, "KL to the reference exploded"), ({"min_entropy": 50.0}, "entropy")]
)
def test_divergence_aborts_with_its_reason(tiny_model_folder: Path, changed: dict[str, float], reason: str) -> None:
    with pytest.raises(Diverged, match=reason):
        list(trainer(tiny_model_folder, episodes=32 * 20, learning_rate=5e-3, kl_coef=0.0, **changed).train(PROMPTS))


def test_answers_without_an_end_pay_the_penalty(tiny_model_folder: Path) -> None:
    free, paid = (
        trainer(tiny_model_folder, missing_eos_penalty=p, max_new_tokens=8).collect(PROMPTS) for p in (0.0, 3.0)
    )
    assert 0 < free.rollout.ended.sum() < 32
    expected = free.scores - 3.0 * (~free.rollout.ended).float()
    assert torch.equal(paid.scores, expected)


def test_answers_without_an_end_have_the_score_that_is_set_for_them(tiny_model_folder: Path) -> None:
    own, replaced = (
        trainer(tiny_model_folder, missing_eos_score=score, max_new_tokens=8).collect(PROMPTS) for score in (None, -7.0)
    )
    ended = own.rollout.ended
    assert 0 < ended.sum() < 32
    assert torch.equal(replaced.scores[ended], own.scores[ended])
    assert (replaced.scores[~ended] == -7.0).all()


def test_gradients_are_clipped_to_the_norm(tiny_model_folder: Path) -> None:
    """With plain gradient descent and rate 1 the step's length is the clipped norm."""
    t = trainer(tiny_model_folder, max_grad_norm=1e-3)
    t.optimizer = torch.optim.SGD([p for _, p in t._trainable()], lr=1.0)
    before = [p.detach().clone() for _, p in t._trainable()]
    experience = t.collect(PROMPTS)
    norm = t._step(experience, torch.arange(16))["policy/grad_norm"]
    assert norm > 1e-3
    moved = torch.cat([(p.detach() - b).flatten() for (_, p), b in zip(t._trainable(), before, strict=True)]).norm()
    assert float(moved) == pytest.approx(1e-3, rel=1e-2)


def test_adam_has_the_epsilon_of_the_paper_and_decays_nothing(tiny_model_folder: Path) -> None:
    for group in trainer(tiny_model_folder).optimizer.param_groups:
        assert (group["eps"], group["weight_decay"]) == (1e-5, 0.0)


def test_the_learning_rate_falls_linearly(tiny_model_folder: Path) -> None:
    t = trainer(tiny_model_folder, episodes=32 * 4, epochs=1)
    rates = [t.optimizer.param_groups[0]["lr"] for _ in t.train(PROMPTS)]
    assert rates == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3])


@VALUES
def test_the_value_loss_has_its_coefficient(tiny_model_folder: Path, value: str) -> None:
    """The value head's step under plain gradient descent grows with it."""
    steps = []
    for coefficient in (0.1, 0.3):
        t = trainer(tiny_model_folder, value=value, value_coef=coefficient, max_grad_norm=1e9)
        head = t.value_head.weight if t.value_model is None else t.value_model.score.weight
        before = head.detach().clone()
        t.optimizer = torch.optim.SGD([p for _, p in t._trainable()], lr=1.0)
        t._step(t.collect(PROMPTS), torch.arange(16))
        steps.append(head.detach() - before)
    torch.testing.assert_close(steps[1], 3 * steps[0], rtol=1e-3, atol=1e-7)
    assert steps[0].abs().max() > 1e-4


@pytest.mark.parametrize("adapters", [False, True])
def test_dropout_is_off_in_every_pass(tiny_model_folder: Path, adapters: bool) -> None:
    """Adapters have dropout of their own."""
    lora = SimpleNamespace(rank=4, alpha=8, dropout=0.5)

    def prepare(model: Any) -> Any:
        task = "SEQ_CLS" if hasattr(model, "score") else "CAUSAL_LM"
        return with_lora(model, lora, task, 3) if adapters else model

    t = trainer(tiny_model_folder, prepare=prepare)
    next(t.train(PROMPTS))
    assert not any(m.training for model in (t.policy, t.reference, t.value_model) for m in model.modules())


def test_no_diagnostic_sees_padding(tiny_model_folder: Path) -> None:
    """Whatever stands on padding, no gradient, loss or diagnostic changes."""
    seen = []
    for garbage in (0, 7):
        t = trainer(tiny_model_folder, max_new_tokens=16)
        experience = t.collect(PROMPTS)
        pad = ~experience.rollout.mask.bool()
        assert pad.any()
        experience.rollout.response_ids[pad] = garbage
        for tensor in (experience.rollout.logprobs, experience.kl, experience.rollout.entropy):
            tensor[pad] += garbage if tensor is not experience.kl else 0
        for tensor in (experience.values, experience.returns, experience.advantages):
            tensor[~experience.rollout.state_mask.bool()] += garbage
        metrics = {k: float(v) for k, v in t._step(experience, torch.arange(16)).items()}
        seen.append((metrics | describe(experience), [p.clone() for _, p in t._trainable()]))
    assert seen[0][0] == seen[1][0]
    assert all(torch.equal(a, b) for a, b in zip(seen[0][1], seen[1][1], strict=True))


def test_cost_grows_with_real_tokens_and_not_with_padding(tiny_model_folder: Path) -> None:
    """Tokens that reach the first MLP while training: those of prompts and responses, whatever the longest row is."""
    t = trainer(tiny_model_folder, max_new_tokens=8)
    prompts = [*PROMPTS[:-1], [9] * 100]  # one long row, which padding would give to all
    experience = t.collect(prompts)
    seen: list[int] = []
    t.policy.model.layers[0].mlp.register_forward_hook(lambda _, inputs, out: seen.append(inputs[0].shape[1]))
    t._step(experience, torch.arange(32))
    assert sum(seen) == sum(experience.rollout.lengths) - 32  # nothing is predicted from a last token


def test_no_tensor_over_the_vocabulary_outlives_the_rollout(tiny_model_folder: Path) -> None:
    t = trainer(tiny_model_folder)
    experience = t.collect(PROMPTS)
    gc.collect()
    vocabulary = t.policy.config.vocab_size
    parameters = {p.data_ptr() for m in (t.policy, t.reference, t.value_model) for p in m.parameters()}
    for found in (o for o in gc.get_objects() if isinstance(o, torch.Tensor)):
        if found.dim() > 1 and found.shape[-1] == vocabulary and found.data_ptr() not in parameters:
            assert found.numel() < experience.rollout.mask.sum() * vocabulary


@pytest.mark.parametrize(
    ("estimator", "formula"),
    [("k1", lambda d: d), ("k2", lambda d: d**2 / 2), ("k3", lambda d: torch.exp(-d) - 1 + d)],
)
def test_the_reward_pays_for_the_estimator_that_is_named(
    tiny_model_folder: Path, estimator: str, formula: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    t = trainer(tiny_model_folder, kl_estimator=estimator, kl_coef=0.5)
    with torch.no_grad():
        for parameter in t.policy.parameters():
            parameter.mul_(1.1)
    experience = t.collect(PROMPTS)
    real = experience.rollout.mask.bool()
    assert float(experience.kl[real].abs().mean()) > 0.01
    paid = experience.rewards[:, :-1][real]
    torch.testing.assert_close(paid, -0.5 * formula(experience.kl[real]), rtol=1e-3, atol=1e-5)


def test_statistics_of_advantages_are_over_the_whole_batch(tiny_model_folder: Path) -> None:
    experience = trainer(tiny_model_folder).collect(PROMPTS)
    real = experience.advantages[:, :-1][experience.rollout.mask.bool()]
    assert float(real.mean()) == pytest.approx(0, abs=1e-5)
    assert float(real.std(unbiased=False)) == pytest.approx(1, abs=1e-4)


def test_whitened_rewards_keep_their_mean(tiny_model_folder: Path) -> None:
    plain, whitened = (
        trainer(tiny_model_folder, whiten_rewards=on, missing_eos_penalty=3.0).collect(PROMPTS) for on in (False, True)
    )
    states = plain.rollout.state_mask.bool()
    torch.testing.assert_close(whitened.rewards[states].mean(), plain.rewards[states].mean())
    assert float(plain.rewards[states].mean()) != pytest.approx(0, abs=0.05)
    assert float(whitened.rewards[states].std(unbiased=False)) == pytest.approx(1, abs=1e-4)
    assert float(plain.rewards[states].std(unbiased=False)) != pytest.approx(1, abs=0.05)
