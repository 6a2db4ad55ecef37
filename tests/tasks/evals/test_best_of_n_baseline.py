"""Best-of-n: which candidates are taken, and the stage `evaluate` with it."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from governance.digest import write_jsonl
from tasks.evals.best_of_n import best_of_n
from tasks.evals.generation import Responses
from tasks.rlhf.ppo_losses import score_without_end
from tests.conftest import run_stage_in


def test_takes_the_best_of_each_group() -> None:
    candidates = Responses(
        [[i] for i in range(6)], [f"{i}" for i in range(6)], torch.arange(6.0), torch.arange(6) % 2 == 0, None
    )
    best = best_of_n(candidates, np.array([0.1, 0.3, 0.2, 5.0, -1.0, 4.0]), 3)
    assert best.ids == [[1], [3]]
    assert best.texts == ["1", "3"]
    assert best.lengths.tolist() == [1.0, 3.0]
    assert best.ended.tolist() == [False, False]


def test_an_answer_without_an_end_has_the_set_score() -> None:
    scores, ended = torch.tensor([2.0, 3.0]), torch.tensor([True, False])
    assert score_without_end(scores, ended, -1.0, 0.5).tolist() == [2.0, -1.5]
    assert score_without_end(scores, ended, None, 0.5).tolist() == [2.0, 2.5]


@pytest.fixture(scope="module")
def project(trained_project: Path, tmp_path_factory: pytest.TempPathFactory, hh_rows: list[Any]) -> Path:
    """A project with everything that `evaluate` reads; the policy is the SFT model."""
    folder = shutil.copytree(trained_project, tmp_path_factory.mktemp("evaluate") / "project")
    shutil.copytree(folder / "data/models/sft", folder / "data/models/policy")
    table = pl.DataFrame([{k: r[k] for k in ("id", "prompt", "source")} for r in hh_rows[:24]])
    table.write_parquet(folder / "data/processed/eval_prompts.parquet")
    (folder / "data/reports/ppo").mkdir(parents=True)
    write_jsonl(folder / "data/reports/ppo/history.jsonl", [{"objective/kl": 0.0, "objective/scores": 0.0}])
    return folder


def test_the_stage_measures_best_of_n_beside_the_policy(project: Path) -> None:
    small = {"samples_per_prompt": 2, "max_new_tokens": 8, "bootstrap": 200}
    found = {}
    for n in (0, 8):
        run_stage_in(project, "evaluate", evaluate=small | {"best_of_n": n}, ppo={"missing_eos_score": None})
        rows = json.loads((project / "data/reports/evaluate/metrics.json").read_text())["metrics"]
        found[n] = {r["name"]: r for r in rows if not r["slice"]}
        text = (project / "data/reports/evaluate/report.md").read_text()
        assert ("Best of 8 responses" in text) is (n == 8)
    assert found[0].keys() == {name for name in found[8] if "best_of_n" not in name}
    for name, row in found[0].items():  # other answers in a batch change the last digits of a score
        assert found[8][name] == pytest.approx(row, rel=1e-5, abs=1e-6), name
    rows = found[8]
    assert rows["kl/best_of_n_from_sft"]["value"] == pytest.approx(math.log(8) - 7 / 8)
    assert rows["reward/best_of_n"]["low"] > rows["reward/sft"]["high"]  # it is chosen by that
    assert rows["win_rate/best_of_n_vs_sft"]["n"] == rows["win_rate/policy_vs_sft"]["n"] == 24 * 4
    against, win = rows["win_rate/policy_vs_best_of_n"], rows["win_rate/best_of_n_vs_sft"]
    assert against["value"] == pytest.approx(1 - win["value"])  # here the policy is SFT, with the same draws
    assert win["low"] < win["value"] < win["high"]
