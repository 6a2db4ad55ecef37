"""DPO, IPO and KTO through the adapter: which tokens, which weights, which reference; each loss against its formula."""

import math
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tasks.checkpoints import Checkpoints
from tasks.methods import kto
from tasks.rlhf.direct_trainer import Pair, train_direct, weighted
from tasks.rlhf.encoding import encode_preferences, stop_token_id
from tasks.rlhf.models import load_causal_lm, load_tokenizer, merged, with_lora
from tasks.rlhf.resume import Resume

LORA = SimpleNamespace(rank=4, alpha=8, dropout=0.0)
PLAIN = {"epochs": 1, "batch": 4, "learning_rate": 2e-3, "max_length": 96, "bf16": False, "beta": 0.2}
METHODS = ("dpo", "ipo", "kto")
DEV, ROWS = 8, 36  # 7 steps an epoch of pairs, 14 of answers


class Stopped(Exception):
    """Stands for a kill."""


def pairs_of(folder: Path, rows: list[Any], longest: int = 96) -> list[Pair]:
    tokenizer = load_tokenizer(folder)
    sides = [[r[s] for r in rows] for s in ("prompt", "chosen", "rejected")]
    return [Pair(*ids) for ids in encode_preferences(tokenizer, *sides, stop_token_id(tokenizer), longest)]


def train(
    method: str, folder: Path, pairs: list[Pair], *, lora: bool = False, resume: Resume | None = None, **changes: Any
) -> tuple[Any, list[dict[str, float]], list[Any]]:
    """(policy, log, samples); `kl` in the changes: what is seen after each number of steps."""
    settings = {"watch_steps": 2, "kl_budget": None, "kl": lambda step: 0.1 * step} | PLAIN | changes
    kl = settings.pop("kl")
    policy, reference = load_causal_lm(folder), None if lora else load_causal_lm(folder).eval()
    policy = with_lora(policy, LORA, "CAUSAL_LM", 7) if lora else policy
    log: list[dict[str, float]] = []
    samples: list[Any] = []

    def watch(step: int) -> dict[str, float]:
        policy.eval()  # as sampling does
        samples.append({"step": step})
        return {"objective/kl": kl(step)}

    train_direct(
        method,
        import_module(f"tasks.methods.{method}").kind(),
        policy,
        reference,
        load_tokenizer(folder),
        pairs[DEV:],
        pairs[:DEV],
        SimpleNamespace(**settings),
        7,
        lambda step, values: log.append({"step": step, **values}),
        watch,
        samples,
        resume,
    )
    kept = [{k: v for k, v in row.items() if "runtime" not in k and "second" not in k} for row in log]
    return policy, kept, samples


@torch.no_grad()
def log_ratios(policy: Any, reference: Any, prompt: list[int], answer: list[int]) -> float:
    """Σ log π − log π_ref over the answer's tokens, one conversation without padding."""
    ids = torch.tensor([prompt + answer])
    each = [m.eval()(ids).logits[0].float().log_softmax(-1) for m in (policy, reference)]
    rows = torch.arange(len(answer)) + len(prompt) - 1
    return float((each[0][rows, answer] - each[1][rows, answer]).sum())


def dev_loss(method: str, policy: Any, reference: Any, dev: list[Pair], beta: float) -> float:
    """The docstring's formula, pair by pair."""
    h = [[log_ratios(policy, reference, p.prompt_ids, a) for a in (p.chosen_ids, p.rejected_ids)] for p in dev]
    if method == "dpo":
        return sum(math.log1p(math.exp(-beta * (c - r))) for c, r in h) / len(h)
    gaps = [c / len(p.chosen_ids) - r / len(p.rejected_ids) for (c, r), p in zip(h, dev, strict=True)]
    return sum((g - 1 / (2 * beta)) ** 2 for g in gaps) / len(gaps)


@pytest.mark.parametrize("method", ["dpo", "ipo"])
def test_the_loss_is_the_formula_on_the_answers_tokens(
    method: str, tiny_model_folder: Path, hh_rows: list[Any]
) -> None:
    pairs = pairs_of(tiny_model_folder, hh_rows[:24])
    policy, log, _ = train(method, tiny_model_folder, pairs)
    told = [row["eval_loss"] for row in log if "eval_loss" in row]
    assert told == [
        pytest.approx(dev_loss(method, policy, load_causal_lm(tiny_model_folder), pairs[:DEV], 0.2), rel=1e-3)
    ]


def test_ktos_loss_is_the_formula_with_the_kl_of_other_answers(tiny_model_folder: Path, hh_rows: list[Any]) -> None:
    pairs = pairs_of(tiny_model_folder, hh_rows[:24])
    policy, log, _ = train("kto", tiny_model_folder, pairs)
    reference = load_causal_lm(tiny_model_folder)
    losses = []
    rows = kto.answers(pairs[:DEV], 4, 7)
    for at in range(0, len(rows), 4):
        part = rows[at : at + 4]
        z = sum(log_ratios(policy, reference, r["prompt_ids"], r["KL_completion_ids"]) for r in part) / 4
        for r in part:
            gap = log_ratios(policy, reference, r["prompt_ids"], r["completion_ids"]) - max(z, 0.0)
            losses.append(1 / (1 + math.exp(0.2 * (gap if r["label"] else -gap))))
    told = next(row["eval_loss"] for row in log if "eval_loss" in row)
    assert told == pytest.approx(sum(losses) / len(losses), rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_chosen_answers_become_likelier_than_rejected_ones(
    method: str, tiny_model_folder: Path, hh_rows: list[Any]
) -> None:
    pairs = pairs_of(tiny_model_folder, hh_rows[:ROWS])
    policy, _, _ = train(method, tiny_model_folder, pairs, epochs=6, learning_rate=5e-3)
    reference = load_causal_lm(tiny_model_folder)
    margins = [
        log_ratios(policy, reference, p.prompt_ids, p.chosen_ids)
        - log_ratios(policy, reference, p.prompt_ids, p.rejected_ids)
        for p in pairs[DEV:]
    ]
    assert sum(m > 0 for m in margins) > 0.7 * len(margins)


@pytest.mark.parametrize("method", METHODS)
def test_a_row_that_weighs_nothing_changes_nothing(method: str, tiny_model_folder: Path, hh_rows: list[Any]) -> None:
    before = load_causal_lm(tiny_model_folder).state_dict()
    for weight, same in ((0.0, True), (1.0, False)):
        pairs = [
            Pair(p.prompt_ids, p.chosen_ids, p.rejected_ids, weight) for p in pairs_of(tiny_model_folder, hh_rows[:16])
        ]
        after = train(method, tiny_model_folder, pairs)[0].state_dict()
        assert all(torch.equal(after[k], v) for k, v in before.items()) is same


def test_a_weight_scales_the_gradient_of_its_pair_alone() -> None:
    logprobs = torch.randn(6, 5, requires_grad=True)  # three chosen answers, then three rejected ones
    model = lambda **_: SimpleNamespace(log_probs=logprobs * 2)  # noqa: E731
    weighted(model, torch.tensor([1.0, 0.0, 3.0]))().log_probs.sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad[:, 0].tolist() == [2.0, 0.0, 6.0, 2.0, 0.0, 6.0]


def test_the_training_ends_when_the_budget_is_spent(tiny_model_folder: Path, hh_rows: list[Any]) -> None:
    pairs = pairs_of(tiny_model_folder, hh_rows[:ROWS])
    _, log, _ = train("dpo", tiny_model_folder, pairs, kl_budget=0.4)
    assert [row["step"] for row in log if "objective/kl" in row] == [0, 2, 4]
    assert max(row["step"] for row in log) == 4
    _, log, _ = train("dpo", tiny_model_folder, pairs)
    assert [row["step"] for row in log if "objective/kl" in row] == [0, 2, 4, 6, 7]
    assert {"loss", "rewards/margins", "rewards/accuracies"} <= set().union(*log)


def test_adapters_learn_against_the_model_without_them(tiny_model_folder: Path, hh_rows: list[Any]) -> None:
    pairs = pairs_of(tiny_model_folder, hh_rows[:24])
    policy, log, _ = train("dpo", tiny_model_folder, pairs, lora=True, learning_rate=2e-2)
    told = next(row["eval_loss"] for row in log if "eval_loss" in row)
    base, policy = load_causal_lm(tiny_model_folder), merged(policy)
    assert told == pytest.approx(dev_loss("dpo", policy, base, pairs[:DEV], 0.2), rel=1e-3)
    assert abs(told - math.log(2)) > 1e-4
    assert set(policy.state_dict()) == set(base.state_dict())
    matrix = "model.layers.0.mlp.up_proj.weight"
    assert torch.linalg.matrix_rank(policy.state_dict()[matrix] - base.state_dict()[matrix], rtol=1e-4) <= LORA.rank


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_goes_on_to_the_same_weights_log_and_samples(
    method: str, tiny_model_folder: Path, hh_rows: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path))
    pairs = pairs_of(tiny_model_folder, hh_rows[:ROWS])
    policy, log, samples = train(method, tiny_model_folder, pairs, epochs=2)
    checkpoints = Checkpoints(method, {}, keep=2)
    for stop_after in (3, 9, None):

        def save(step: int, tensors: Any, state: Any, last: int | None = stop_after) -> None:
            if last is not None and step > last:
                raise Stopped
            checkpoints.save(step, tensors, state)

        torch.manual_seed(99)
        try:
            resume = Resume(1, save, checkpoints.latest())
            again, told, seen = train(method, tiny_model_folder, pairs, epochs=2, resume=resume)
        except Stopped:
            assert max(int(p.name.split("-")[1]) for p in checkpoints.folder.iterdir()) == stop_after
    assert told == log and seen == samples
    assert all(torch.equal(again.state_dict()[k], v) for k, v in policy.state_dict().items())


def test_both_answers_follow_the_same_prompt(tiny_model_folder: Path, hh_rows: list[Any]) -> None:
    stop = stop_token_id(load_tokenizer(tiny_model_folder))
    cut, whole = pairs_of(tiny_model_folder, hh_rows, 64), pairs_of(tiny_model_folder, hh_rows, 10_000)
    assert any(len(p.prompt_ids) + len(p.chosen_ids) > 64 for p in whole)
    for short, long in zip(cut, whole, strict=True):
        assert short.prompt_ids and long.prompt_ids[-len(short.prompt_ids) :] == short.prompt_ids
        for a, b in ((short.chosen_ids, long.chosen_ids), (short.rejected_ids, long.rejected_ids)):
            assert len(short.prompt_ids) + len(a) <= 64
            assert a[-1] == b[-1] == stop and a[:-1] == b[: len(a) - 1]
