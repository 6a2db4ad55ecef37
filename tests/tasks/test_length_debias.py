"""A reward that does not pay for length: on answers whose quality is known and whose labels follow length, too."""

import json
import random
import shutil
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from governance.digest import sha256_path
from tasks import evaluate
from tasks.evals.bench import Bench
from tasks.evals.generation import Responses
from tasks.evals.response_cache import ResponseCache
from tasks.evaluation_params import Suite
from tasks.reward_length import correlation_row, debias
from tasks.rlhf.branches import answer_scores
from tasks.rlhf.encoding import encode_pairs, stop_token_id
from tasks.rlhf.length_effect import length_slope, less_length
from tasks.rlhf.models import (
    declare_heads,
    load_causal_lm,
    load_reward_heads,
    load_reward_model,
    load_tokenizer,
    new_reward_model,
    save_model,
)
from tasks.rlhf.reward_trainer import RankedRow, train_reward
from tasks.rlhf.rollout import sample
from tasks.rlhf.scorers import reward_scorer
from tasks.stats.intervals import bootstrap_mean
from tests.conftest import run_stage_in
from tests.tasks.scored_alone import scored_alone
from tests.tasks.test_reward import GOOD, SETTINGS

SEEDS, N = (1, 2, 3), 400


def simulated(n: int, seed: int, bias: float, *, balanced: bool = False) -> list[RankedRow]:
    """SIMULATED pairs. Quality is how many tokens GOOD an answer holds; labels are drawn by quality + `bias` · log length; of `balanced` pairs by quality alone, and in half of them the better answer is the longer one."""
    draw, rows = random.Random(seed), []
    while len(rows) < n:
        prompt = [draw.randrange(50, 400) for _ in range(3)]
        counts, lengths = ([draw.randrange(4) for _ in range(2)], [draw.randrange(5, 30) for _ in range(2)])
        gap = counts[0] - counts[1] + bias * np.log(lengths[0] / lengths[1])
        first = draw.random() < 1 / (1 + np.exp(-2 * gap))
        if balanced:
            first = counts[0] > counts[1]
            longer_wins = (lengths[0] > lengths[1]) == first
            if counts[0] == counts[1] or lengths[0] == lengths[1] or longer_wins != (len(rows) % 2 == 0):
                continue
        order = (0, 1) if first else (1, 0)
        answers = []
        for k in order:
            body = [GOOD] * counts[k] + [draw.randrange(50, 400) for _ in range(lengths[k] - counts[k])]
            draw.shuffle(body)
            answers.append([*prompt, *body, 1])
        rows.append(RankedRow(answers, [1.0], [0.0], lengths=[lengths[k] + 1 for k in order]))
    return rows


def scored(model: Any, rows: list[RankedRow]) -> tuple[np.ndarray, np.ndarray]:
    """(scores (n, 2), log lengths (n, 2))."""
    lengths = [n for r in rows for n in r.lengths]
    scores = scored_alone(model, [a for r in rows for a in r.answers], lengths=lengths)
    return scores.double().numpy().reshape(-1, 2), np.log(lengths).reshape(-1, 2)


@pytest.fixture(scope="module")
def trained(tiny_model_folder: Path) -> Any:
    """seed → (model whose labels paid for length, held-out scores before and after the debiasing, rows)."""

    @cache
    def of(seed: int) -> Any:
        rows = simulated(520, seed, 2.0)
        model = new_reward_model(tiny_model_folder, 0, seed)
        settings = SimpleNamespace(**(vars(SETTINGS) | {"epochs": 3, "batch": 16}))
        dev = rows[:160]
        train_reward(
            model, load_tokenizer(tiny_model_folder), rows[160:], dev, settings, seed, lambda *_: None, "reward"
        )
        model = model.cpu()
        alike = simulated(N, seed + 1000, 2.0)
        balanced = simulated(N, seed + 2000, 0.0, balanced=True)
        before = [scored(model, held) for held in (alike, balanced)]
        (effect,) = debias(model, dev, 2.5, {"level": 0.95, "resamples": 200, "seed": seed}, bf16=False)
        after = [scored(model, held) for held in (alike, balanced)]
        return effect, before, after

    return of


def gaps(held: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return held[0][:, 0] - held[0][:, 1], held[1][:, 0] - held[1][:, 1]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_score_follows_length_no_more(seed: int, trained: Any) -> None:
    effect, before, after = trained(seed)
    assert effect["low"] > 0
    drawn = {"level": 0.95, "resamples": 300, "seed": seed}
    was, now = (correlation_row("c", *gaps(held[0]), np.arange(N), drawn) for held in (before, after))
    assert was["low"] > 0.2
    assert now["high"] < was["low"]
    assert abs(now["value"]) < 0.25
    over_all = [np.corrcoef(held[0][0].ravel(), held[0][1].ravel())[0, 1] for held in (before, after)]
    assert abs(over_all[1]) < 0.5 * over_all[0]


def test_accuracy_where_length_tells_nothing_does_not_fall(trained: Any) -> None:
    """On balanced pairs, which are labelled by quality alone; by the interval of the difference over pairs. Of one seed it
    may not reach below −.03, of all seeds together not below 0: where length is noise it rises."""
    gains = []
    for seed in SEEDS:
        _, before, after = trained(seed)
        was, now = (gaps(held[1])[0] > 0 for held in (before, after))
        gains.append(now.astype(float) - was)
        assert bootstrap_mean(gains[-1], level=0.95, resamples=500, seed=seed)[0] > -0.03
    assert bootstrap_mean(np.concatenate(gains), level=0.95, resamples=500, seed=0)[0] > 0


def test_slope_by_hand() -> None:
    """Δℓ = 1, −2; Δr = 3, 1: β = (3 − 2) / 5. A pair turned round changes nothing; neither do pairs of equal length."""
    by_hand = torch.tensor(0.2, dtype=torch.float64)
    torch.testing.assert_close(length_slope(torch.tensor([3.0, 1.0]), torch.tensor([1.0, -2.0])), by_hand)
    torch.testing.assert_close(length_slope(torch.tensor([-3.0, 1.0, 9.0]), torch.tensor([-1.0, -2.0, 0.0])), by_hand)
    heads = torch.tensor([[3.0, 0.0], [1.0, 5.0]])
    torch.testing.assert_close(length_slope(heads, torch.tensor([1.0, -2.0])), torch.tensor([0.2, -2.0]).double())
    assert length_slope(heads, torch.zeros(2)).tolist() == [0.0, 0.0]


def test_what_is_taken_off_by_hand() -> None:
    config = SimpleNamespace(length_effect={"slope": [0.5], "centre": 2.0})
    scores, lengths = torch.tensor([1.0, 1.0]), [np.e**2, np.e**4]
    torch.testing.assert_close(less_length(scores, config, lengths), torch.tensor([1.0, 0.0]))
    config.length_effect["slope"] = [0.5, -1.0]
    torch.testing.assert_close(less_length(torch.zeros(2, 2), config, lengths), torch.tensor([[0.0, 0.0], [-1.0, 2.0]]))
    with pytest.raises(ValueError, match="length of the response, which is not given"):
        less_length(scores, config, None)
    assert less_length(scores, SimpleNamespace(), None) is scores


@pytest.fixture(scope="module")
def project(trained_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project whose reward model has its length effect taken off."""
    folder = shutil.copytree(trained_project, tmp_path_factory.mktemp("debiased") / "project")
    shutil.rmtree(folder / "data/reports/reward")
    run_stage_in(folder, "reward", reward={"length_debias": True})
    return folder


def test_only_the_reward_models_configuration_changes(project: Path, trained_project: Path) -> None:
    """Same seed, same weights; the judge, by which policies are compared, is the same to the byte."""
    new, old = (p / "data/models" for p in (project, trained_project))
    assert sha256_path(new / "judge") == sha256_path(old / "judge")
    weights = "reward/model.safetensors"
    assert sha256_path(new / weights) == sha256_path(old / weights)
    effect = json.loads((new / "reward/config.json").read_text())["length_effect"]
    record = json.loads((project / "data/reports/reward/record.json").read_text())
    assert effect["slope"] == [record["notes"]["length_effect"]["reward"]["score"]["slope"]]
    assert record["notes"]["recipe"]["reward"]["length_debias"] == "yes"
    assert record["notes"]["recipe"]["judge"]["length_debias"] == "no"
    assert json.loads((new / "reward/lineage.json").read_text())["length_debias"] == "yes"
    assert "length_debias" not in json.loads((new / "judge/lineage.json").read_text())
    rows = {r["name"]: r for r in json.loads((project / "data/reports/reward/metrics.json").read_text())["metrics"]}
    for name in ("length/correlation_before", "length/correlation"):
        assert rows[name]["low"] <= rows[name]["value"] <= rows[name]["high"]
    assert rows["length/correlation_before"]["value"] != rows["length/correlation"]["value"]


def test_demonstrations_score_zero_with_their_length_taken_off(project: Path) -> None:
    folder = project / "data/models/reward"
    model, tokenizer = load_reward_model(folder), load_tokenizer(folder)
    messages = pl.read_parquet(project / "data/processed/sft.parquet")["messages"].to_list()
    stop = stop_token_id(tokenizer)
    shown = encode_pairs(tokenizer, [m[:-1] for m in messages], [m[-1:] for m in messages], stop, 96)
    rows, lengths = [p + a for p, a in shown], [len(a) for _, a in shown]
    scores = scored_alone(model, rows, lengths=lengths)
    assert abs(float(scores.mean())) < 0.01  # the stage scored in bf16
    with pytest.raises(ValueError, match="length of the response"):
        answer_scores(model, rows, None)


def test_ppo_and_evaluation_take_it_off_alike(project: Path) -> None:
    """Scores of one rollout by PPO's scorer, by the evaluation, and worked out from the plain score."""
    folder = project / "data/models/reward"
    model = load_reward_model(folder)
    policy = load_causal_lm(project / "data/models/sft")
    given: dict[str, Any] = {"pad_token_id": 0, "stop_token_id": 1, "max_new_tokens": 12, "temperature": 1.0}
    prompts = [[5, 6, 7], [9, 10], [20, 30, 40, 50], [60, 61]]
    rollout = sample(policy, prompts, generator=torch.Generator().manual_seed(0), **given)
    answers = [ids[mask.bool()].tolist() for ids, mask in zip(rollout.response_ids, rollout.mask, strict=True)]
    rows, lengths = [p + a for p, a in zip(prompts, answers, strict=True)], torch.tensor([len(a) for a in answers])
    with torch.no_grad():
        by_ppo = reward_scorer(model)(rollout).cpu()
    responses = Responses(rows, [""] * 4, lengths.double(), rollout.ended.cpu(), None)
    by_evaluation = torch.from_numpy(evaluate._score(folder, {"policy": responses})["policy"]).float()
    effect = model.config.length_effect
    model.config.length_effect = None
    plain = scored_alone(model, rows)
    expected = plain - effect["slope"][0] * (lengths.log() - effect["centre"])
    torch.testing.assert_close(by_ppo, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(by_evaluation, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(plain, expected, atol=1e-3)


def test_heads_are_debiased_one_by_one_and_in_the_sum(tiny_model_folder: Path, tmp_path: Path) -> None:
    model = new_reward_model(tiny_model_folder, 0, 1, heads=2)
    declare_heads(model, {"a": 1.0, "b": -0.5})
    model.config.reward_offset = [0.1, 0.2]
    debias(model, simulated(40, 3, 0.0), 2.5, {"level": 0.95, "resamples": 10, "seed": 0}, bf16=False)
    save_model(model, load_tokenizer(tiny_model_folder), tmp_path / "reward")
    rows, lengths = [[5, 6, 7, 1], [5, 8, 9, 10, 11, 1]], [2, 4]
    heads = scored_alone(load_reward_heads(tmp_path / "reward"), rows, lengths=lengths)
    summed = answer_scores(load_reward_model(tmp_path / "reward"), rows, lengths)
    torch.testing.assert_close(summed, heads @ torch.tensor([1.0, -0.5]), rtol=1e-4, atol=1e-5)


def test_the_suite_takes_it_off_too(project: Path, tmp_path: Path) -> None:
    """Of written answers and of sampled ones; as the plain score less β (log |y| − m)."""
    models = project / "data/models"
    folders = {name: models / name for name in ("base", "sft", "reward", "judge")}
    bench = Bench(
        settings=Suite(samples=2, max_new_tokens=8),
        seed=7,
        policies={n: folders[n] for n in ("base", "sft")},
        rated={},
        scorers={n: folders[n] for n in ("reward", "judge")},
        sides={},
        cache=ResponseCache(tmp_path / "r.sqlite"),
        max_length=96,
    )
    prompts = [[{"role": "user", "content": text}] for text in ("How are you?", "Name a river.")]
    answers = bench.respond("sft", prompts)
    found = bench.score("reward", answers.ids, answers.lengths)
    model = load_reward_model(folders["reward"])
    effect, model.config.length_effect = model.config.length_effect, None
    plain = scored_alone(model, answers.ids).numpy()
    expected = plain - effect["slope"][0] * (np.log(answers.lengths) - effect["centre"])
    assert found == pytest.approx(expected, abs=1e-4)
    short, long = bench.score_texts("reward", prompts[:1] * 2, ["Well.", "Well. " * 12])
    assert np.isfinite([short, long]).all()
