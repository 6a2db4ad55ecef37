"""An ensemble of reward models from params.yaml through reward, ppo and evaluate, and best-of-n beside the policy."""

import contextlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import torch

from tasks import params
from tasks.rlhf.best_of_n import best_of_n_kl
from tasks.rlhf.encoding import encode_pairs, encode_prompts, stop_token_id
from tasks.rlhf.ensembles import load_reward_models
from tasks.rlhf.models import load_reward_model, load_tokenizer, score_conversations
from tests.conftest import run_stage_in

ENSEMBLE = {"members": 2, "rule": "worst", "variance_weight": 0.5}
PPO = {"episodes": 32, "batch": 8, "minibatch": 4, "epochs": 1, "max_prompt_tokens": 48, "max_new_tokens": 12}
BEST_OF = 4


@pytest.fixture(scope="module")
def project(trained_project: Path, tmp_path_factory: pytest.TempPathFactory, hh_rows: list[Any]) -> Path:
    """A project in which reward ran with an ensemble, and ppo and evaluate after it."""
    folder = shutil.copytree(trained_project, tmp_path_factory.mktemp("ensemble") / "project")
    for side, rows in (("ppo_prompts", hh_rows[:40]), ("eval_prompts", hh_rows[40:64])):
        table = pl.DataFrame({"id": [r["id"] for r in rows], "prompt": [r["prompt"] for r in rows]})
        table.write_parquet(folder / f"data/processed/{side}.parquet")
    run_stage_in(folder, "reward", reward={"ensemble": ENSEMBLE})
    run_stage_in(folder, "ppo", ppo=PPO | {"save_steps": 2})
    changed = {"best_of_n": BEST_OF, "samples_per_prompt": 2, "max_new_tokens": 12, "bootstrap": 100}
    run_stage_in(folder, "evaluate", evaluate=changed)
    return folder


def test_members_differ_and_the_worst_counts(project: Path) -> None:
    folder = project / "data/models/reward"
    test = pl.read_parquet(project / "data/processed/reward_test.parquet")
    tokenizer = load_tokenizer(folder)
    stop, pad = stop_token_id(tokenizer), tokenizer.pad_token_id
    models, scores = load_reward_models(folder), []
    for side in ("chosen", "rejected"):
        pairs = encode_pairs(tokenizer, test["prompt"].to_list(), test[side].to_list(), stop, 96)
        rows = [p + a for p, a in pairs]
        single = [score_conversations(load_reward_model(f), rows, pad) for f in (folder, folder / "member-2")]
        assert not torch.allclose(*single, atol=1e-3)
        scores.append(torch.minimum(*single))
        assert torch.equal(models.score(rows, pad), scores[-1])
    report = json.loads((project / "data/reports/reward/metrics.json").read_text())
    margin = next(r["value"] for r in report["metrics"] if r["name"] == "rewards/margins")
    assert margin == pytest.approx(float(torch.sub(*scores).mean()), abs=0.01)  # the stage scores in bf16


def test_ppo_is_paid_by_the_ensemble(project: Path, hh_rows: list[Any]) -> None:
    from tasks.ppo import _trainer

    with contextlib.chdir(project):
        settings = params.load(Path("params.yaml"))
        changed = settings.ppo.model_copy(update=PPO | {"missing_eos_score": None, "bf16": False})
        stage = SimpleNamespace(params=settings.model_copy(update={"ppo": changed}), seed=3)
        folder = Path("data/models/reward")
        tokenizer = load_tokenizer(folder)
        trainer = _trainer(stage, tokenizer)  # type: ignore[arg-type]
        members = [load_reward_model(f) for f in (folder, folder / "member-2")]
    experience = trainer.collect(encode_prompts(tokenizer, [r["prompt"] for r in hh_rows[:8]], 48))
    rollout = experience.rollout
    rows = [
        rollout.prompt_ids[i][rollout.prompt_mask[i].bool()].tolist()
        + rollout.response_ids[i][rollout.mask[i].bool()].tolist()
        for i in range(8)
    ]
    single = [score_conversations(m, rows, tokenizer.pad_token_id) for m in members]
    assert torch.allclose(experience.scores.cpu(), torch.minimum(*single), atol=1e-4)


def test_samples_are_shown_every_so_often(project: Path) -> None:
    import mlflow

    lines = (project / "data/reports/ppo/samples.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [r["step"] for r in rows] == [2] * 8 + [4] * 8
    assert all(0 < r["tokens"] <= 12 and r["prompt"] for r in rows)
    history = [json.loads(x) for x in (project / "data/reports/ppo/history.jsonl").read_text().splitlines()]
    for step in (2, 4):  # the batch is as large as the table
        scores = [r["score"] for r in rows if r["step"] == step]
        assert sum(scores) / 8 == pytest.approx(history[step - 1]["objective/scores"], abs=1e-5)
    record = json.loads((project / "data/reports/ppo/record.json").read_text())
    with contextlib.chdir(project):
        shown = mlflow.load_table("samples.json", run_ids=[record["mlflow_run_id"]])
    assert shown["response"].tolist() == [r["response"] for r in rows]


def test_the_policy_is_compared_with_best_of_n(project: Path) -> None:
    report = json.loads((project / "data/reports/evaluate/metrics.json").read_text())
    rows = {r["name"]: r for r in report["metrics"]}
    assert rows["kl/best_of_n_from_sft"]["value"] == pytest.approx(best_of_n_kl(BEST_OF))
    assert rows["reward/best_of_n"]["low"] > rows["reward/sft"]["high"]  # it was chosen by this reward
    assert rows["win_rate/policy_vs_best_of_n"]["n"] == rows["win_rate/policy_vs_sft"]["n"]
    assert "best of 4 answers of SFT" in (project / "data/reports/evaluate/report.md").read_text(encoding="utf-8")
