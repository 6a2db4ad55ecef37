"""`ppo` on workers in folders of their own, which share Prefect, MLflow, the repository and the DVC remote alone."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from flows.elsewhere import START_SECONDS
from governance.digest import sha256_path
from tests import servers
from tests.end_to_end.conftest import Project, outcomes
from tests.processes import stage_of, started_by
from tests.production.workers import publish, worker
from tests.servers import wait_until
from tests.typed import clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.production, pytest.mark.xdist_group("workers")]
POOL = "trainers"
UPDATES = 24
WAIT = 180
# Parts of a worker's life with a stage, and for how many seconds from its beginning on it may be killed there.
# Later in a push is too late: DVC itself takes a second to begin, and where cores are idle is done soon after.
PARTS = {"clone": 0.5, "pull": 3.0, "start": 6.0, "training": 2.0, "push": 0.4}
# Of three workers in a row one makes a checkpoint: else the run would give up, as it should.
EARLY, LATER = ["clone", "clone", "pull", "pull", "start"], ["training", "training", "training", "push"]


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
    settings["placement"].update(stages={"ppo": {"pool": POOL}}, lost_after_seconds=12)
    (copy / "params.yaml").write_text(yaml.safe_dump(settings))
    subprocess.run(["git", "init", "-q", "--bare", str(folder / "origin.git")], check=True)
    publish(copy, str(folder / "origin.git"), str(folder / "remote"))
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


def start(team: TeamProject) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "flows.cli", "run", "--json", "--until", "ppo"]
    with (team.folder / "run.json").open("w") as out, (team.folder / "said").open("w") as err:
        return subprocess.Popen(command, cwd=team.folder, env=team.environment, stdout=out, stderr=err, text=True)


@dataclass(frozen=True)
class Kills:
    """A run, and the step of the newest checkpoint at each kill of a worker."""

    record: dict[str, Any]
    steps: list[int]


@pytest.fixture(scope="module")
def killed(team: TeamProject, tmp_path_factory: pytest.TempPathFactory) -> Kills:
    """A run in whose `ppo` one worker after another is killed, at a random moment of each part of a worker's life."""
    seed = int(os.environ.get("ATTESTRL_KILL_SEED", random.SystemRandom().randrange(10**6)))
    print(f"ATTESTRL_KILL_SEED={seed}")
    folder, run, steps = tmp_path_factory.mktemp("workers"), None, [0]
    try:
        for number, (part, moment) in enumerate(moments(random.Random(seed))):
            with worker(folder / str(number), team.environment, POOL) as process:
                run = run or start(team)
                wait_for(part, process, folder / str(number), team, run, steps[-1])
                time.sleep(moment)
                kill(process, folder / str(number))
                assert run.poll() is None, (team.folder / "said").read_text()
            steps.append(newest(team) or steps[-1])
            print(f"kill {number}: {part}, after {moment:.1f} s, at update {steps[-1]} of {UPDATES}")
        assert run is not None
        with worker(folder / "last", team.environment, POOL):
            run.wait(timeout=600)
    finally:
        if run is not None and run.poll() is None:
            run.kill()
    return Kills(json.loads((team.folder / "run.json").read_text()), steps[1:])


def moments(rng: random.Random) -> list[tuple[str, float]]:
    """(part, seconds after it began) of ten kills."""
    first, *early = rng.sample(EARLY, len(EARLY))
    parts = [first, *(part for pair in zip(early, LATER, strict=True) for part in pair), "push"]
    return [(part, rng.random() * PARTS[part]) for part in parts]


def wait_for(
    part: str, process: subprocess.Popen[bytes], folder: Path, team: TeamProject, run: subprocess.Popen[str], step: int
) -> None:
    """Until a worker is in this part of its life; `step` is that of the last checkpoint before."""
    began = {
        "clone": lambda: any(folder.glob("*/project")),
        "pull": lambda: bool(started_by(process.pid, "dvc pull")),
        "start": lambda: bool(stage_of(process.pid, "ppo")),
        "training": lambda: newest(team) > step,
        "push": lambda: bool(started_by(process.pid, "dvc push")),
    }[part]
    deadline = time.monotonic() + WAIT
    while not began():
        assert run.poll() is None, (team.folder / "said").read_text()
        assert time.monotonic() < deadline, f"no {part} within {WAIT} s: {(folder / 'log').read_text()[-3000:]}"
        time.sleep(0.05)


def newest(team: TeamProject) -> int:
    """Step of the newest checkpoint in the remote; 0 while there is none."""
    states = (team.folder.parent / "remote/attestrl-checkpoints/ppo").glob("*/checkpoint-*/state.json")
    with contextlib.suppress(FileNotFoundError):  # older ones are being removed
        return max((int(s.parent.name.removeprefix("checkpoint-")) for s in states), default=0)
    return 0


def kill(process: subprocess.Popen[bytes], folder: Path) -> None:
    """A worker's machine is gone: it, and all that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    while found := _started_by(folder):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _started_by(folder: Path) -> list[int]:
    """Processes that work below this folder: a worker starts its flow runs in sessions of their own."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("TMPDIR") == str(folder):
                found.append(process.pid)
    return found


def test_a_worker_that_is_killed_is_noticed_and_ppo_goes_on_elsewhere(killed: Kills, team: TeamProject) -> None:
    record = killed.record
    assert record["status"] == "done", record
    assert outcomes(record)["ppo"] == "made"
    trained = [step for step, before in zip(killed.steps, [0, *killed.steps], strict=False) if step > before]
    assert len(trained) >= LATER.count("training") and 1 <= trained[0] < UPDATES, killed.steps
    made = json.loads((team.folder / "data/reports/ppo/record.json").read_text())
    assert killed.steps[-1] <= made["notes"]["resumed_from_step"]["ppo"] <= UPDATES
    policy = next(o for s in record["stages"] for o in s["outputs"] if o["path"] == "data/models/policy")
    assert policy["sha256"] == sha256_path(team.folder / "data/models/policy")
    assert not (team.folder.parent / "remote/attestrl-checkpoints/ppo").exists()
    status = team.python("-m", "dvc", "status", "--json")
    assert set(json.loads(status.stdout)) <= {"evaluate"}  # which the run was not asked for


def test_every_lost_worker_is_told_of_and_leaves_nothing_open(killed: Kills, team: TeamProject) -> None:
    import mlflow

    wanted = {"flows": {"name": {"any_": ["attestrl-stage"]}}, "work_pools": {"name": {"any_": [POOL]}}}
    found = httpx.post(f"{team.orchestrator}/flow_runs/filter", json=wanted, timeout=60).json()
    states = Counter(run["state_type"] for run in found)
    assert states.keys() == {"CRASHED", "COMPLETED"} and states["COMPLETED"] == 1
    assert states["CRASHED"] >= len(killed.steps) == 10  # one that was slow may have been taken for lost
    sentence = f"ppo: a worker of the pool {POOL} was lost; the next one goes on from the last checkpoint."
    assert (team.folder / "said").read_text().count(sentence) == states["CRASHED"]

    client = mlflow.MlflowClient(team.tracking)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    ended = Counter(r.info.status for r in runs if r.data.tags.get("attestrl.stage") == "ppo")
    assert ended.keys() == {"KILLED", "FINISHED"}, ended  # what was killed while it pushed had finished the stage
    assert ended["KILLED"] >= LATER.count("training")  # what was killed before had not begun it
    assert client.get_run(killed.record["mlflow_run_id"]).info.status == "FINISHED"


def test_here_and_elsewhere_make_the_same_bytes(killed: Kills, team: TeamProject) -> None:
    before = sha256_path(team.folder / "data/models/policy")
    done = team.python("-m", "dvc", "repro", "--force", "--single-item", "ppo", "--no-run-cache")
    assert done.returncode == 0, done.stderr[-2000:]
    assert sha256_path(team.folder / "data/models/policy") == before


def test_what_is_not_committed_is_not_sent(killed: Kills, team: TeamProject) -> None:
    file = team.folder / "tasks/ppo.py"
    before = file.read_text()
    file.write_text(before + "\n")
    try:
        record = team.run()
    finally:
        file.write_text(before)
    assert (record["status"], record["exit_code"]) == ("failed", 2)
    assert "commit and push first" in record["message"]


def test_a_worker_that_is_killed_before_its_flow_run_begins_is_noticed(orchestrator: str, tmp_path: Path) -> None:
    """By the heartbeats of the worker: of the flow run there is nothing yet that could give signs of life."""
    environment = clean_environment() | {"PREFECT_API_URL": orchestrator}
    script = "from flows import elsewhere; assert elsewhere._answer({'need': {}}, 'early', 12.0) is None"
    with worker(tmp_path / "worker", environment, "early") as process:
        wait_until(lambda: "started" in (tmp_path / "worker/log").read_text())
        run = subprocess.Popen([sys.executable, "-c", script], env=environment)
        wait_until(lambda: bool(started_by(process.pid, "-m prefect.")), tmp_path / "worker/log")
        kill(process, tmp_path / "worker")
        assert "Beginning flow run" not in (tmp_path / "worker/log").read_text()
        assert run.wait(timeout=START_SECONDS / 2) == 0


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


def test_trainings_that_begin_together_find_one_limit(orchestrator: str) -> None:
    """On a server that has no limit yet, each has looked for it before either makes it."""
    script = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from contextlib import suppress\n"
        "from threading import Barrier\n"
        "from prefect.client.orchestration import SyncPrefectClient, get_client\n"
        "from prefect.exceptions import ObjectNotFound\n"
        "from flows import placement\n"
        "from tasks.operating_params import Need\n"
        "with get_client(sync_client=True) as client, suppress(ObjectNotFound):\n"
        "    client.delete_global_concurrency_limit_by_name(placement.LIMIT)\n"
        "read, looked, held = SyncPrefectClient.read_global_concurrency_limit_by_name, Barrier(2), Barrier(2)\n"
        "def look(client, name):\n"
        "    try:\n"
        "        return read(client, name)\n"
        "    finally:\n"
        "        looked.wait(60)\n"
        "SyncPrefectClient.read_global_concurrency_limit_by_name = look\n"
        "def train(_):\n"
        "    with placement._slots(Need(device='gpu'), 2):\n"
        "        held.wait(60)\n"
        "with ThreadPoolExecutor(2) as pool:\n"
        "    list(pool.map(train, range(2)))\n"
    )
    environment = clean_environment() | {"PREFECT_API_URL": orchestrator, "PREFECT_LOGGING_LEVEL": "CRITICAL"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr[-2000:]
