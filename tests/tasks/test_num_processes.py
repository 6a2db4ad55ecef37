"""`num_processes: 2`, with whole models or sharded ones, or two machines: the stages that train end as with one process,
name the error of the one that fails, and go on."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file

from governance.digest import sha256_path
from tests.processes import stage_of
from tests.tasks.test_oversight_stage import ON, TRANSCRIPTS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
# batches of five do not divide by two, and the last one of an epoch is smaller still
TRAINING = {"epochs": 2, "batch": 5, "learning_rate": 5e-5, "bf16": False, "max_length": 64}
PPO = {"episodes": 16, "batch": 8, "minibatch": 5, "bf16": False, "max_prompt_tokens": 48, "max_new_tokens": 8}
MODELS = {"sft": ["sft"], "reward": ["reward", "judge"], "ppo": ["policy"]}
FAILS = """import os
if os.environ.get("RANK") == "1":
    import tasks.rlhf.models as models
    def refuse(*_, **__):
        raise RuntimeError("rank 1 was told to fail")
    models.load_causal_lm = refuse
"""
HURRIES = "import tasks.launcher\ntasks.launcher.MEETING_SECONDS = 8"
HELD = """import os
if os.environ.get("RANK") == "1":
    import tasks.rlhf.sharding as sharding
    plain = sharding.plain
    def told(model):
        parameters = list(model.parameters())
        share = sum(p.to_local().numel() for p in parameters) / sum(p.numel() for p in parameters)
        with open("held", "a") as file:
            print(share, file=file)
        return plain(model)
    sharding.plain = told
"""


@pytest.fixture(scope="module")
def project(trained_project: Path, tmp_path_factory: pytest.TempPathFactory, hh_rows: list[Any]) -> Path:
    folder = shutil.copytree(trained_project, tmp_path_factory.mktemp("processes") / "project")
    table = pl.DataFrame({"prompt": [r["prompt"] for r in hh_rows[:10]]})
    table.write_parquet(folder / "data/processed/ppo_prompts.parquet")
    return folder


def start(
    project: Path,
    to: Path,
    stage: str,
    processes: int,
    *,
    first: str = "",
    machine: dict[str, str] | None = None,
    sharding: str = "none",
    **training: Any,
) -> Any:
    """The stage under way in a copy of the project; `first` is a folder whose sitecustomize runs before all else, and
    `machine` what its environment says of machines."""
    folder = to if to.exists() else shutil.copytree(project, to)
    settings = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    settings |= {"num_processes": processes, "sharding": sharding}
    settings[stage] |= (PPO if stage == "ppo" else TRAINING) | training
    (folder / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ATTESTRL_", "MLFLOW_"))}
    paths = os.pathsep.join(filter(None, [first, str(ROOT)]))
    return subprocess.Popen(
        [sys.executable, "-m", f"tasks.{stage}"],
        cwd=folder,
        env=kept | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"} | (machine or {}),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: Any) -> str:
    _, said = process.communicate(timeout=900)
    assert process.returncode == 0, said[-3000:]
    return str(said)


def history(folder: Path, stage: str, model: str) -> list[dict[str, float]]:
    name = f"history-{model}.jsonl" if stage == "reward" else "history.jsonl"
    text = (folder / "data/reports" / stage / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def by_one(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """stage → the project after one process has trained it."""
    place = tmp_path_factory.mktemp("one")

    def trained(stage: str) -> Path:
        if not (place / stage).exists():
            finish(start(project, place / stage, stage, 1))
        return place / stage

    return trained


@pytest.mark.parametrize("stage", MODELS)
def test_two_processes_equal_one(stage: str, project: Path, by_one: Callable[[str], Path], tmp_path: Path) -> None:
    folders = [by_one(stage), tmp_path / "two", tmp_path / "sharded"]
    (tmp_path / "first").mkdir()
    (tmp_path / "first/sitecustomize.py").write_text(HELD, encoding="utf-8")
    finish(start(project, folders[1], stage, 2))
    finish(start(project, folders[2], stage, 2, first=str(tmp_path / "first"), sharding="fsdp2"))
    shares = [float(line) for line in (folders[2] / "held").read_text().split()]
    assert len(shares) == len(MODELS[stage])
    assert all(share == pytest.approx(0.5, abs=0.01) for share in shares)
    for model in MODELS[stage]:
        one, *others = (load_file(f / "data/models" / model / "model.safetensors") for f in folders)
        before = project / "data/models" / ("base" if stage == "sft" else "sft") / "model.safetensors"
        trunk = load_file(before)
        assert max((one[k] - v.float()).abs().max() for k, v in trunk.items() if k in one) > 3e-5
        alone, *shared = (history(f, stage, model) for f in folders)
        for weights, logged in zip(others, shared, strict=True):
            assert weights.keys() == one.keys()
            for name, tensor in one.items():
                torch.testing.assert_close(weights[name], tensor, rtol=1e-5, atol=1e-5, msg=name)
            assert len(alone) == len(logged) > 1
            for a, b in zip(alone, logged, strict=True):
                assert b == pytest.approx(a, rel=1e-4, abs=1e-5)
    record = json.loads((folders[1] / "data/reports" / stage / "record.json").read_text())
    assert record["mlflow_run_id"] and record["outputs"]


def test_two_processes_train_the_assistant_of_one(project: Path, tmp_path: Path) -> None:
    """It chooses alike, so that the judge, whom the first process asks, reads and says the same."""
    asking = shutil.copytree(project, tmp_path / "asking")
    settings = yaml.safe_load((asking / "params.yaml").read_text(encoding="utf-8"))
    settings["oversight"] |= ON | {"protocol": "recursive_reward", "pairs": 30, "turns": 2}
    (asking / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    finish(start(asking, tmp_path / "one", "reward", 1))
    finish(start(asking, tmp_path / "sharded", "reward", 2, sharding="fsdp2"))
    one, two = ((tmp_path / name / TRANSCRIPTS).read_bytes() for name in ("one", "sharded"))
    assert b'"id":"assistant-2-' in one and one == two


def two_machines() -> list[dict[str, str]]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        meeting = {"PET_NNODES": "2", "PET_RDZV_ENDPOINT": f"127.0.0.1:{s.getsockname()[1]}", "PET_RDZV_ID": "test"}
    return [meeting | {"PET_NODE_RANK": str(n)} for n in range(2)]


def test_two_machines_of_one_process_equal_one(project: Path, by_one: Callable[[str], Path], tmp_path: Path) -> None:
    folders = [by_one("sft"), tmp_path / "two"]
    started = [start(project, folders[1], "sft", 1, machine=m) for m in two_machines()]
    for process in started:
        finish(process)
    one, two = (load_file(f / "data/models/sft/model.safetensors") for f in folders)
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-5, atol=1e-5, msg=name)
    assert one.keys() == two.keys()
    assert any(not torch.equal(two[name], tensor) for name, tensor in one.items())  # summed in parts: two did train
    for a, b in zip(*(history(f, "sft", "sft") for f in folders), strict=True):
        assert b == pytest.approx(a, rel=1e-4, abs=1e-5)


def test_the_error_of_the_process_that_fails_is_named(project: Path, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "first/sitecustomize.py").write_text(FAILS, encoding="utf-8")
    process = start(project, tmp_path / "project", "sft", 2, first=str(tmp_path / "first"))
    _, said = process.communicate(timeout=300)
    assert process.returncode == 3
    assert "process 1: an unforeseen error, RuntimeError: rank 1 was told to fail" in said
    assert "Traceback" not in said


def checkpoints(folder: Path, training: str) -> list[int]:
    """Steps that are kept."""
    return [int(p.name.split("-")[1]) for p in (folder / ".attestrl/checkpoints").glob(f"{training}/*/checkpoint-*")]


def test_a_killed_process_ends_the_others_and_the_training_goes_on(project: Path, tmp_path: Path) -> None:
    """Killed after the checkpoint of `step`."""
    stage, training, step = "ppo", "ppo", 2
    small: dict[str, Any] = {"episodes": 48, "save_steps": 1, "sharding": "fsdp2"}
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "project"
    finish(start(project, undisturbed, stage, 2, **small))
    process = start(project, folder, stage, 2, **small)
    while max(checkpoints(folder, training), default=0) < step:
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.005)
    children = [psutil.Process(pid) for pid in stage_of(process.pid, stage)]
    assert len(children) == 2
    next(p for p in children if p.environ()["RANK"] == "1").send_signal(signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 3
    assert "process 1 of the training was ended by signal 9" in said
    assert not [p for p in children if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    finish(start(project, folder, stage, 2, **small))
    record = json.loads((folder / "data/reports" / stage / "record.json").read_text())
    assert record["notes"]["resumed_from_step"][training] >= step
    for model in MODELS[stage]:
        assert sha256_path(folder / "data/models" / model) == sha256_path(undisturbed / "data/models" / model), model
        assert history(folder, stage, model) == history(undisturbed, stage, model)


def test_a_machine_that_never_comes_is_said(project: Path, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "first/sitecustomize.py").write_text(HURRIES, encoding="utf-8")
    alone = [two_machines()[rank] for rank in range(2)]  # each of a training of its own
    first = str(tmp_path / "first")
    started = [start(project, tmp_path / f"{n}", "sft", 1, first=first, machine=m) for n, m in enumerate(alone)]
    for machine, process in zip(alone, started, strict=True):
        _, said = process.communicate(timeout=120)
        assert process.returncode == 3
        assert said.splitlines()[-1] == (
            f"sft: the 2 machines were not all at {machine['PET_RDZV_ENDPOINT']} within 8 s; start the stage on each of them, "
            "and then here again."
        )
        assert "Traceback (most recent call last)" not in said


def test_a_lost_machine_ends_the_other_and_the_training_goes_on(project: Path, tmp_path: Path) -> None:
    """The one that writes is killed with all that it started, after the checkpoint of its second step."""
    small: dict[str, Any] = {"episodes": 48, "save_steps": 1}
    folder, undisturbed = tmp_path / "project", tmp_path / "undisturbed"
    finish(start(project, undisturbed, "ppo", 2, **small))
    lost, other = (start(project, folder, "ppo", 1, machine=m, **small) for m in two_machines())
    while max(checkpoints(folder, "ppo"), default=0) < 2:
        assert lost.poll() is None, lost.communicate()[1][-3000:]
        time.sleep(0.005)
    for pid in (lost.pid, *stage_of(lost.pid, "ppo")):
        os.kill(pid, signal.SIGKILL)
    _, said = other.communicate(timeout=120)
    assert other.returncode == 3
    assert "ppo: process 1: another process of the training has ended, or cannot be reached; see what it said" in said
    assert "Traceback" not in said
    for process in [start(project, folder, "ppo", 1, machine=m, **small) for m in two_machines()]:
        finish(process)
    record = json.loads((folder / "data/reports/ppo/record.json").read_text())
    assert record["notes"]["resumed_from_step"]["ppo"] >= 2
    assert sha256_path(folder / "data/models/policy") == sha256_path(undisturbed / "data/models/policy")
    assert history(folder, "ppo", "policy") == history(undisturbed, "ppo", "policy")
