"""The stage `ppo` is killed and goes on: the same model and the same metrics as a training that nobody disturbed."""

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

CHANGED = {"episodes": 48, "batch": 8, "minibatch": 4, "epochs": 2, "max_prompt_tokens": 48, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def project(trained_project: Path, tmp_path_factory: pytest.TempPathFactory, hh_rows: list[Any]) -> Path:
    """A project in which everything before `ppo` ran; six updates, a checkpoint after each."""
    folder = shutil.copytree(trained_project, tmp_path_factory.mktemp("ppo") / "project")
    pl.DataFrame({"prompt": [r["prompt"] for r in hh_rows[:40]]}).write_parquet(
        folder / "data/processed/ppo_prompts.parquet"
    )
    file = folder / "params.yaml"
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    settings["ppo"] |= CHANGED | {"save_steps": 1, "save_total_limit": 2}
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return folder


def start(folder: Path) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    environment.pop("ATTESTRL_HOME", None)
    return subprocess.Popen(
        [sys.executable, "-m", "tasks.ppo"], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    )


def finish(process: "subprocess.Popen[str]") -> str:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return errors


def result(folder: Path) -> tuple[str, str]:
    """SHA-256 of the model, and of the metrics of every update."""
    return sha256_path(folder / "data/models/policy"), sha256_path(folder / "data/reports/ppo/history.jsonl")


def checkpoints(folder: Path) -> list[Path]:
    found = (folder / ".attestrl/checkpoints/ppo").glob("*/checkpoint-*")
    return sorted(found, key=lambda p: int(p.name.removeprefix("checkpoint-")))


def kill_after(folder: Path, step: int) -> None:
    """Start the stage and kill it in the middle of an update after checkpoint `step`."""
    process = start(folder)
    while not any(int(p.name.removeprefix("checkpoint-")) >= step for p in checkpoints(folder)):
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.005)
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_a_killed_training_ends_as_an_undisturbed_one(project: Path, tmp_path: Path) -> None:
    undisturbed = shutil.copytree(project, tmp_path / "undisturbed")
    finish(start(undisturbed))
    assert not checkpoints(undisturbed)  # the stage has finished

    kill_after(project, 3)
    kept = checkpoints(project)
    assert len(kept) == 2
    assert not (project / "data/models/policy").exists()
    truncated = kept[-1] / "tensors.safetensors"
    truncated.write_bytes(truncated.read_bytes()[:-100])
    errors = finish(start(project))
    assert f"{kept[-1].name}: its tensors are truncated" in errors
    record = json.loads((project / "data/reports/ppo/record.json").read_text())
    assert record["notes"]["resumed_from_step"] == int(kept[0].name.removeprefix("checkpoint-"))
    assert result(project) == result(undisturbed)
    assert not checkpoints(project)
