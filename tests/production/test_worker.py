"""`ppo` on workers in folders of their own, which share Prefect, MLflow, the repository and the DVC remote alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from governance.digest import sha256_path
from tests import servers
from tests.end_to_end.conftest import Project, clean_environment, outcomes
from tests.servers import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.production, pytest.mark.xdist_group("workers")]
POOL = "trainers"
UPDATES = 24


@dataclass(frozen=True)
class TeamProject(Project):
    """A project whose MLflow is a server's."""

    tracking: str

    @property
    def environment(self) -> dict[str, str]:
        return clean_environment() | {"PREFECT_API_URL": self.orchestrator, "MLFLOW_TRACKING_URI": self.tracking}


@pytest.fixture(scope="module")
def team(
    tmp_path_factory: pytest.TempPathFactory,
    first: dict[str, Any],
    project: Project,
    orchestrator: str,
    tracking: str,
) -> TeamProject:
    """A copy of a project that has run, as a team has it: its commit is in `origin`, its data go through a DVC remote, and
    its `ppo`, which is to be longer, needs a worker."""
    folder = tmp_path_factory.mktemp("team")
    copy = folder / "Projekt № 2"
    shutil.copytree(project.folder, copy, ignore=shutil.ignore_patterns(".attestrl"))
    settings = yaml.safe_load((copy / "params.yaml").read_text())
    settings["ppo"].update(episodes=16 * UPDATES, save_steps=1)
    settings["placement"].update(stages={"ppo": {"pool": POOL}}, lost_after_seconds=30)
    (copy / "params.yaml").write_text(yaml.safe_dump(settings))
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for command in (
        [sys.executable, "-m", "dvc", "remote", "add", "-d", "team", str(folder / "remote")],
        ["git", "init", "-q", "--bare", str(folder / "origin.git")],
        [*git, "remote", "add", "origin", str(folder / "origin.git")],
        [*git, "add", "-A"],
        [*git, "commit", "-qm", "configured"],
        [*git, "push", "-q", "origin", "HEAD:main"],
    ):
        subprocess.run(command, cwd=copy, env=clean_environment(), check=True, capture_output=True)
    return TeamProject(copy, orchestrator, tracking)


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An MLflow server that keeps its artifacts itself."""
    folder = tmp_path_factory.mktemp("mlflow")
    store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--serve-artifacts"]
    with servers.mlflow(
        {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        [*store, "--artifacts-destination", str(folder / "artifacts")],
        folder / "log",
    ) as url:
        wait_until(lambda: servers.answers(f"{url}/health"), folder / "log")
        yield url


@contextmanager
def worker(folder: Path, team: TeamProject) -> Iterator[subprocess.Popen[bytes]]:
    """A worker in a folder of its own, whose temporary files are there, too."""
    folder.mkdir()
    own = team.environment | {"PREFECT_HOME": str(folder / "prefect"), "TMPDIR": str(folder), "HOME": str(folder)}
    own["PREFECT_WORKER_QUERY_SECONDS"] = "1"
    own["PREFECT_LOGGING_LEVEL"] = "INFO"
    command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--pool", POOL]
    with servers.program(command, own, folder / "log", folder) as process:
        yield process


def start(team: TeamProject) -> tuple[subprocess.Popen[str], Path]:
    said = team.folder / "run.json"
    command = [sys.executable, "-m", "flows.cli", "run", "--json", "--until", "ppo"]
    with said.open("w") as out:
        return subprocess.Popen(command, cwd=team.folder, env=team.environment, stdout=out, text=True), said


@pytest.fixture(scope="module")
def killed(team: TeamProject, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run whose first worker was killed in the middle of `ppo`."""
    folder = tmp_path_factory.mktemp("workers")
    remote = team.folder.parent / "remote/attestrl-checkpoints/ppo"
    with worker(folder / "a", team) as first:
        run, said = start(team)
        try:
            wait_until(
                lambda: run.poll() is not None or any(remote.glob("*/checkpoint-*/state.json")), folder / "a/log"
            )
            assert run.poll() is None, said.read_text()
            os.killpg(first.pid, signal.SIGKILL)
            for process in _started_by(folder / "a"):
                os.kill(process, signal.SIGKILL)
            with worker(folder / "b", team):
                run.wait(timeout=600)
        finally:
            if run.poll() is None:
                run.kill()
    record: dict[str, Any] = json.loads(said.read_text())
    return record


def _started_by(folder: Path) -> list[int]:
    """Processes that work below this folder: a worker starts its flow runs in sessions of their own."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == str(folder):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_a_worker_that_is_killed_is_noticed_and_ppo_goes_on_elsewhere(
    killed: dict[str, Any], team: TeamProject
) -> None:
    record = killed
    assert record["status"] == "done", record
    assert outcomes(record)["ppo"] == "made"
    made = json.loads((team.folder / "data/reports/ppo/record.json").read_text())
    print(f"went on from update {made['notes']['resumed_from_step']} of {UPDATES}")
    assert 1 <= made["notes"]["resumed_from_step"]["ppo"] < UPDATES
    policy = next(o for s in record["stages"] for o in s["outputs"] if o["path"] == "data/models/policy")
    assert policy["sha256"] == sha256_path(team.folder / "data/models/policy")
    assert not (team.folder.parent / "remote/attestrl-checkpoints/ppo").exists()
    status = team.python("-m", "dvc", "status", "--json")
    assert set(json.loads(status.stdout)) <= {"evaluate"}  # which the run was not asked for


def test_here_and_elsewhere_make_the_same_bytes(killed: dict[str, Any], team: TeamProject) -> None:
    before = sha256_path(team.folder / "data/models/policy/model.safetensors")
    done = team.python("-m", "dvc", "repro", "--force", "--single-item", "ppo", "--no-run-cache")
    assert done.returncode == 0, done.stderr[-2000:]
    assert sha256_path(team.folder / "data/models/policy/model.safetensors") == before


def test_what_is_not_committed_is_not_sent(killed: dict[str, Any], team: TeamProject) -> None:
    file = team.folder / "tasks/ppo.py"
    before = file.read_text()
    file.write_text(before + "\n")
    try:
        record = team.run()
    finally:
        file.write_text(before)
    assert (record["status"], record["exit_code"]) == ("failed", 2)
    assert "commit and push first" in record["message"]


def test_two_trainings_never_share_a_gpu(orchestrator: str) -> None:
    """Two runs of one server, each with a stage that needs the one GPU there is."""
    script = (
        "import sys, time\n"
        "from prefect import flow\n"
        "from flows import placement\n"
        "from tasks.operating_params import Need\n"
        "@flow\n"
        "def train():\n"
        "    with placement._slots(Need(device='gpu'), 1):\n"
        "        print(time.time(), flush=True); time.sleep(3); print(time.time(), flush=True)\n"
        "train()\n"
    )
    environment = clean_environment() | {"PREFECT_API_URL": orchestrator, "PREFECT_LOGGING_LEVEL": "CRITICAL"}
    runs = [
        subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    first, second = sorted([float(t) for t in r.communicate(timeout=200)[0].split()] for r in runs)
    assert second[0] >= first[1], (first, second)
