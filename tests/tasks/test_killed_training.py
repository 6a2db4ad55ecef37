"""A stage that trains is killed and goes on: the same model and the same metrics as a training that nobody disturbed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from governance.digest import sha256_path

pytestmark = pytest.mark.slow
KEPT = {"save_steps": 1, "save_total_limit": 2}
TRAINING = {"epochs": 4, "batch": 4, "learning_rate": 0.0003}  # 9 steps an epoch; the dev loss falls to the end
PPO = {"episodes": 48, "batch": 8, "minibatch": 4, "epochs": 2, "max_prompt_tokens": 48, "max_new_tokens": 12}
CHANGED = {"sft": TRAINING | KEPT, "reward": TRAINING | KEPT, "ppo": PPO | KEPT}
OUTPUTS = {
    "sft": ("models/sft", "reports/sft/history.jsonl"),
    "reward": (
        "models/reward",
        "models/judge",
        "reports/reward/metrics.json",
        "reports/reward/history-reward.jsonl",
        "reports/reward/history-judge.jsonl",
    ),
    "ppo": ("models/policy", "reports/ppo/history.jsonl"),
}


@pytest.fixture(scope="module")
def project(trained_project: Path, tmp_path_factory: pytest.TempPathFactory, hh_rows: list[Any]) -> Path:
    """A project in which `sft` and `reward` ran once, with other parameters; a checkpoint after every step."""
    folder = shutil.copytree(trained_project, tmp_path_factory.mktemp("killed") / "project")
    pl.DataFrame({"prompt": [r["prompt"] for r in hh_rows[:40]]}).write_parquet(
        folder / "data/processed/ppo_prompts.parquet"
    )
    file = folder / "params.yaml"
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    for section, changes in CHANGED.items():
        settings[section] |= changes
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def undisturbed(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """stage → SHA-256 of what it makes in one go."""
    known: dict[str, dict[str, str]] = {}

    def results_of(stage: str) -> dict[str, str]:
        if stage not in known:
            folder = copy(project, tmp_path_factory.mktemp("undisturbed") / "project", stage)
            finish(start(folder, stage))
            assert not checkpoints(folder, "*")  # the stage has finished
            known[stage] = results(folder, stage)
        return known[stage]

    return results_of


def copy(project: Path, to: Path, stage: str) -> Path:
    """The project without what the stage makes, as DVC leaves it before it runs the stage."""
    folder = shutil.copytree(project, to)
    for path in (*OUTPUTS[stage], f"reports/{stage}"):
        shutil.rmtree(folder / "data" / path, ignore_errors=True)
    return folder


def start(folder: Path, stage: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    environment.pop("ATTESTRL_HOME", None)
    return subprocess.Popen(
        [sys.executable, "-m", f"tasks.{stage}"], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    )


def finish(process: "subprocess.Popen[str]") -> str:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return errors


def results(folder: Path, stage: str) -> dict[str, str]:
    """SHA-256 of the models, and of the metrics of every step."""
    return {path: sha256_path(folder / "data" / path) for path in OUTPUTS[stage]}


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def checkpoints(folder: Path, training: str) -> list[Path]:
    return sorted((folder / ".attestrl/checkpoints").glob(f"{training}/*/checkpoint-*"), key=step_of)


def kill_after(folder: Path, stage: str, training: str, step: int) -> None:
    """Start the stage and kill it in the middle of a step after checkpoint `step`."""
    process = start(folder, stage)
    while not any(step_of(p) >= step for p in checkpoints(folder, training)):
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.005)
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize(
    ("stage", "training", "step"),
    [("sft", "sft", 11), ("reward", "reward", 6), ("reward", "judge", 4), ("ppo", "ppo", 3)],
)
def test_a_killed_training_ends_as_an_undisturbed_one(
    stage: str, training: str, step: int, project: Path, undisturbed: Any, tmp_path: Path
) -> None:
    folder = copy(project, tmp_path / "project", stage)
    kill_after(folder, stage, training, step)
    kept = checkpoints(folder, training)
    assert 2 <= len(kept) <= 3  # the kill may come before the oldest is removed
    truncated = kept[-1] / "tensors.safetensors"
    truncated.write_bytes(truncated.read_bytes()[:-100])
    errors = finish(start(copy(folder, tmp_path / "again", stage), stage))
    assert f"{kept[-1].name}: its tensors are truncated" in errors
    again = tmp_path / "again"
    notes = json.loads((again / "data/reports" / stage / "record.json").read_text())["notes"]
    assert notes["resumed_from_step"][training] == step_of(kept[-2])
    assert results(again, stage) == undisturbed(stage)
    assert not checkpoints(again, "*")
