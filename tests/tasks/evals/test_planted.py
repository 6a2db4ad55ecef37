"""Evaluations find what is planted: gaming, sycophancy, divergence, informative uncertainty."""

from pathlib import Path

import numpy as np
import pytest

from tasks.evals import hacking, reward_perturbation, reward_surface, uncertainty
from tasks.evals.bench import Bench
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


def test_uncertainty_is_informative_where_it_is_and_not_elsewhere() -> None:
    rng = np.random.default_rng(0)
    wrong = (rng.random(4000) < 0.3).astype(float)
    knows, guesses = wrong + rng.normal(size=4000), rng.normal(size=4000)
    assert uncertainty.auroc(knows, wrong) == pytest.approx(0.76, abs=0.02)
    assert uncertainty.auroc(guesses, wrong) == pytest.approx(0.5, abs=0.02)
    assert uncertainty.risk_coverage(knows, wrong).mean() < uncertainty.risk_coverage(guesses, wrong).mean() - 0.1
    assert uncertainty.risk_coverage(knows, wrong)[-1] == pytest.approx(wrong.mean())
