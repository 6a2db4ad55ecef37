"""What the stage `ppo` begins with, and the table of samples that it leaves in its report and in MLflow."""

import contextlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tasks import params
from tasks.evals import training
from tasks.evals.bench import Bench
from tasks.evals.response_cache import ResponseCache
from tasks.evaluation_params import Suite
from tasks.methods import ppo
from tasks.rlhf.models import load_reward_model, load_tokenizer
from tests.conftest import run_stage_in

PPO = {"episodes": 32, "batch": 8, "minibatch": 4, "epochs": 1, "max_prompt_tokens": 48, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def project(trained_project: Path, tmp_path_factory: pytest.TempPathFactory, hh_rows: list[Any]) -> Path:
    """A project in which ppo ran four updates, with samples after every second."""
    folder = shutil.copytree(trained_project, tmp_path_factory.mktemp("samples") / "project")
    table = pl.DataFrame({"prompt": [r["prompt"] for r in hh_rows[:40]]})
    table.write_parquet(folder / "data/processed/ppo_prompts.parquet")
    run_stage_in(folder, "ppo", ppo=PPO | {"save_steps": 2})
    return folder


def test_samples_are_shown_every_so_often(project: Path) -> None:
    import mlflow

    lines = (project / "data/reports/ppo/samples.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [r["step"] for r in rows] == [1] * 8 + [2] * 8 + [4] * 8
    assert all(0 < r["tokens"] <= 12 and r["prompt"] for r in rows)
    history = [json.loads(x) for x in (project / "data/reports/ppo/history.jsonl").read_text().splitlines()]
    for step in (1, 2, 4):  # the batch is as large as the table
        scores = [r["score"] for r in rows if r["step"] == step]
        assert sum(scores) / 8 == pytest.approx(history[step - 1]["objective/scores"], abs=1e-5)
    record = json.loads((project / "data/reports/ppo/record.json").read_text())
    with contextlib.chdir(project):
        shown = mlflow.load_table("samples.json", run_ids=[record["mlflow_run_id"]])
    assert shown["response"].tolist() == [r["response"] for r in rows]


def test_reward_and_judge_are_compared_along_the_training(project: Path, tmp_path: Path) -> None:
    """The proxy's gain is what the training itself saw, for responses that ended; the judge is not asked while training."""
    samples = project / "data/reports/ppo/samples.jsonl"
    rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    models = {name: project / "data/models" / name for name in ("base", "sft", "policy", "reward", "judge")}
    bench = Bench(
        settings=Suite(resamples=50),
        seed=7,
        policies={n: models[n] for n in ("base", "sft", "policy")},
        rated={},
        scorers={n: models[n] for n in ("reward", "judge")},
        sides={},
        cache=ResponseCache(tmp_path / "a.sqlite"),
        max_length=96,
        training=samples,
    )
    scores = training._scores(bench, "reward", rows)
    assert scores[[r["ended"] for r in rows]] == pytest.approx([r["score"] for r in rows if r["ended"]], abs=1e-4)
    outcome = training.run(bench)
    found = {(r.metric, r.slice): r for r in outcome.results}
    assert {s for _, s in found} == {"step 2", "step 4"}
    steps = np.array([r["step"] for r in rows])
    gain = (scores[steps == 4].mean() - scores[steps == 1].mean()) / scores[steps == 1].std()
    last = found[("training/gain/proxy", "step 4")]
    assert last.value == pytest.approx(gain) and last.low < last.value < last.high and last.n == 8
    assert last.models.keys() == {"reward"} and found[("training/gain/gold", "step 4")].models.keys() == {"judge"}
    assert outcome.curves[0].lines["gold"][0] == (1.0, 0.0)


def test_the_value_model_starts_from_the_reward_model(trained_project: Path) -> None:
    """Every weight and the offset, in a model of its own."""
    with contextlib.chdir(trained_project):
        stage = SimpleNamespace(params=params.load(Path("params.yaml")), seed=0)
        value_model = ppo.trainer_of(stage, load_tokenizer(Path("data/models/sft"))).value_model
        reward = load_reward_model(Path("data/models/reward"))
    assert value_model.config.reward_offset == reward.config.reward_offset != 0
    for (name, own), (_, other) in zip(value_model.named_parameters(), reward.named_parameters(), strict=True):
        assert torch.equal(own, other), name
