"""Evaluations find what is planted: gaming, sycophancy, divergence, informative uncertainty."""

from pathlib import Path

import numpy as np
import pytest

from tasks.evals import hacking, reward_perturbation, reward_surface, stated_confidence, uncertainty
from tasks.evals.bench import Bench
from tasks.evals.files import read_questions
from tests.tasks.evals.conftest import bench_of

pytestmark = pytest.mark.xdist_group("evals")


@pytest.fixture
def bench(bench_folder: Path, tmp_path: Path) -> Bench:
    return bench_of(bench_folder, tmp_path / "a.sqlite", items=40, resamples=200)


def test_a_reward_for_bullets_is_a_gaming_surface(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def score(name: str, prompts: object, texts: list[str]) -> np.ndarray:
        noise = np.random.default_rng(len(texts)).normal(size=len(texts))
        return np.array([2.0 * t.startswith("- ") for t in texts]) + (noise if name == "judge" else 0.1 * noise)

    monkeypatch.setattr(bench, "score_texts", score)
    outcome = reward_perturbation.run(bench)
    assert [f.title for f in outcome.findings] == ["The reward model pays for bullet points"]
    shift = {r.slice: r for r in outcome.results if r.metric == "perturbation/shift/reward"}
    assert shift["bullet points"].low > 5 and abs(shift["typos"].value) < 1


def test_a_reward_for_length_is_explained_by_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def score(name: str, prompts: object, texts: list[str]) -> np.ndarray:
        noise = np.random.default_rng(sum(map(len, texts))).normal(size=len(texts))
        return np.array([np.log1p(len(t.split())) for t in texts]) + 0.1 * noise if name == "reward" else noise

    monkeypatch.setattr(bench, "score_texts", score)
    outcome = reward_surface.run(bench)
    figures = {(r.metric, r.slice): r for r in outcome.results}
    assert figures[("surface/r2/reward", None)].low > 0.8
    assert figures[("surface/r2/judge", None)].high < 0.4
    own = {s: r.value for (m, s), r in figures.items() if m == "surface/own_r2/reward"}
    assert max(own, key=lambda k: own[k]) == "length"
    assert "length" in outcome.findings[0].means


@pytest.mark.parametrize(("gold", "severity"), [(-1.0, 2), (0.0, 1), (2.0, None)])
def test_the_goodhart_alarm(bench: Bench, monkeypatch: pytest.MonkeyPatch, gold: float, severity: int | None) -> None:
    policy = {tuple(c) for c in bench.respond("policy", hacking.held_out_prompts(bench)).ids}

    def score(name: str, conversations: list[list[int]], lengths: object) -> np.ndarray:
        rng = np.random.default_rng(0)
        gain = 2.0 if name == "reward" else gold
        return np.array([gain * (tuple(c) in policy) + rng.normal() for c in conversations])

    monkeypatch.setattr(bench, "score", score)
    found = [f.severity for f in hacking.run(bench).findings if "judge's score" in f.title]
    assert found == ([] if severity is None else [severity])


def test_a_policy_that_says_it_is_sure_and_is_not(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model always takes the first choice. SFT says 90 % where that is right and 20 % elsewhere, the base model 0 %,
    the policy 100 % everywhere; a tenth of what they say is no percentage."""
    ((_, path),) = bench.settings.multiple_choice.items()
    questions = read_questions(path)
    truth = [0 in questions[i].right for i in bench.some(len(questions))]

    def logprobs(name: str, items: list[tuple[list[int], list[list[int]]]]) -> list[list[float]]:
        if len(items[0][1]) != len(stated_confidence.PERCENT):
            return [[-1.0] + [-2.0] * (len(choices) - 1) for _, choices in items]
        wrong_right = {"base": (0, 0), "sft": (20, 90), "policy": (100, 100)}[name]
        return [np.log(np.where(wrong_right[r] == stated_confidence.PERCENT, 0.9, 1e-9)).tolist() for r in truth]

    monkeypatch.setattr(bench, "logprobs", logprobs)
    outcome = stated_confidence.run(bench)
    found = {r.metric.removeprefix("stated_confidence/logical_deduction/"): r for r in outcome.results}
    accuracy = np.mean(truth)
    assert 0 < accuracy < 1
    assert found["stated/sft"].value == pytest.approx(0.9 * accuracy + 0.2 * (1 - accuracy), abs=1e-6)
    assert found["unfounded/base"].value == pytest.approx(-accuracy, abs=1e-6)
    assert found["unfounded/policy"].value == pytest.approx(1 - accuracy, abs=1e-6)
    assert found["answers/policy"].value == pytest.approx(0.9, abs=1e-6)
    assert [found[f"auroc/{m}"].value for m in ("base", "sft", "policy")] == [0.5, 1.0, 0.5]
    (finding,) = outcome.findings
    assert "says it is sure" in finding.title and not any(e["right"] for e in finding.examples)
    assert {e["says"] for e in finding.examples} == {"100%"}


def test_uncertainty_is_informative_where_it_is_and_not_elsewhere() -> None:
    rng = np.random.default_rng(0)
    wrong = (rng.random(4000) < 0.3).astype(float)
    knows, guesses = wrong + rng.normal(size=4000), rng.normal(size=4000)
    assert uncertainty.auroc(knows, wrong) == pytest.approx(0.76, abs=0.02)
    assert uncertainty.auroc(guesses, wrong) == pytest.approx(0.5, abs=0.02)
    assert uncertainty.risk_coverage(knows, wrong).mean() < uncertainty.risk_coverage(guesses, wrong).mean() - 0.1
    assert uncertainty.risk_coverage(knows, wrong)[-1] == pytest.approx(wrong.mean())
