"""`kill -9` at random moments of every stage, before the first and after the last: the next run goes on, keeps what was
finished, and ends with the same bytes."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from governance.digest import sha256_path
from tasks.paths import STAGES
from tests.end_to_end.conftest import (
    Project,
    digests,
    entries,
    half_written,
    small_project,
)
from tests.processes import stage_of, started_by
from tests.typed import clean_environment

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.xdist_group("killed")]
WAIT = 180
KINDS = ("command", "everything", "stage", "dvc")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, orchestrator: str) -> Project:
    """A second project with the same data, models and parameters."""
    return small_project(tmp_path_factory.mktemp("killed"), tiny_model_folder, orchestrator)


def start(project: Project, kind: str = "everything") -> subprocess.Popen[str]:
    """A run that starts a Prefect server of its own where the kill of that `kind` also meets the server or leaves it alone
    without the command, and uses the team's where it does neither."""
    command = [sys.executable, "-m", "flows.cli", "run", "--json", "--params", "tiny.yaml"]
    return subprocess.Popen(
        command,
        cwd=project.folder,
        env=project.environment if kind in ("stage", "dvc") else clean_environment(),
        stdout=(project.folder / "run.json").open("w"),  # not a pipe, which children of a killed command keep open
        stderr=subprocess.DEVNULL,
        text=True,
    )


def ended(project: Project, run: subprocess.Popen[str], timeout: int = WAIT) -> str:
    """What the run printed, once it has ended."""
    run.wait(timeout=timeout)
    return (project.folder / "run.json").read_text(encoding="utf-8")


def at_work(project: Project, name: str) -> bool:
    """Whether the stage has begun, and its run has not yet been told how it ended."""
    return any((project.folder / ".attestrl/receipts").glob(f"{name}-*.json"))


def let_work(project: Project, name: str, seconds: float) -> None:
    """Wait, no longer than the stage works: it may be faster than it was, and the next one over before the kill."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and at_work(project, name):
        time.sleep(0.02)


def wait_for_stage(project: Project, name: str, run: subprocess.Popen[str]) -> None:
    """Until the stage's process has begun."""
    deadline = time.monotonic() + WAIT
    while not at_work(project, name):
        assert run.poll() is None, f"the run ended before {name} began: {ended(project, run)}"
        assert time.monotonic() < deadline, f"{name} did not begin within {WAIT} s"
        time.sleep(0.02)


def victims(run: subprocess.Popen[str], kind: str, name: str) -> list[int]:
    """Processes to kill: the command alone, the stage's process alone, DVC alone, or all of them at once.

    A stage that is over by now leaves the command: a DVC killed before its stage begins is started anew, and the run
    would go on to its end.
    """
    if run.poll() is not None:
        return []
    if kind == "everything":
        return [*started_by(run.pid), run.pid]
    dvc, stage = started_by(run.pid, "-m dvc"), stage_of(run.pid, name)  # in this order, or DVC may be the next stage's
    return {"stage": stage, "dvc": dvc if stage else [], "command": []}[kind] or [run.pid]


def records(project: Project, stages: Sequence[str]) -> dict[str, str]:
    """SHA-256 of what each stage wrote about itself: another one if it was made again."""
    return {s: sha256_path(project.folder / "data/reports" / s / "record.json") for s in stages}


def test_killed_at_random_it_goes_on_and_ends_with_the_same_bytes(first: dict[str, Any], other: Project) -> None:
    seed = int(os.environ.get("ATTESTRL_KILL_SEED", random.SystemRandom().randrange(10**6)))
    print(f"ATTESTRL_KILL_SEED={seed}")
    rng = random.Random(seed)
    usual = {s["name"]: s["seconds"] for s in first["stages"]}
    kept: dict[str, str] = {}
    commands = kill_before_the_first_stage(other, rng)
    for number, name in enumerate(STAGES):
        kind, moment = rng.choice(KINDS), rng.random() * 0.9 * usual[name]
        print(f"{name}: kill {kind} after {moment:.1f} s")
        run = start(other, kind)
        wait_for_stage(other, name, run)
        kept = kept | records(other, STAGES[:number])
        let_work(other, name, moment)
        commands += kill(other, run, kind, name)
    commands += kill_after_the_last_stage(other, rng)
    record = json.loads(ended(other, start(other), 600))
    assert record["status"] == "done", record
    assert records(other, list(kept)) == kept, "a finished stage was made again"
    assert digests(record) == digests(first)
    _nothing_is_left(other)
    started = [e.run_id for e in entries(other, "run.started")]
    killed = [e.run_id for e in entries(other, "run.killed")]
    assert set(killed) < set(started)
    assert len(set(killed)) == len(killed)
    assert killed or commands < 2  # one may have been over when it was killed


def kill_before_the_first_stage(project: Project, rng: random.Random) -> bool:
    """While the MLflow store is made, and what was left is set right."""
    run, moment = start(project), rng.random() * 3
    while not (project.folder / ".attestrl/mlflow.db").is_file():
        assert run.poll() is None, ended(project, run)
        time.sleep(0.01)
    print(f"the store: kill everything after {moment:.1f} s")
    time.sleep(moment)
    return kill(project, run, "everything", STAGES[0])


def kill_after_the_last_stage(project: Project, rng: random.Random) -> bool:
    """While the records are written, the audit log closes the run, and the policy gets its alias."""
    ledger, moment = project.folder / ".attestrl/ledger.jsonl", rng.random()
    before = verdicts(ledger)
    run = start(project)
    while verdicts(ledger) == before:
        assert run.poll() is None, ended(project, run)
        time.sleep(0.01)
    print(f"after the verdict: kill everything after {moment:.2f} s")
    time.sleep(moment)
    return kill(project, run, "everything", STAGES[-1])


def verdicts(ledger: Path) -> int:
    return ledger.read_bytes().count(b'"gate.verdict"')


def kill(project: Project, run: subprocess.Popen[str], kind: str, name: str) -> bool:
    """Kill the victims; whether the command itself is among them."""
    doomed = victims(run, kind, name)
    for pid in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    ended(project, run)  # where the command itself was spared, it says so and ends
    return run.pid in doomed


def _nothing_is_left(project: Project) -> None:
    assert half_written(project.folder) == []
    with sqlite3.connect(project.folder / ".attestrl/mlflow.db") as store:
        assert store.execute("select count(*) from runs where status = 'RUNNING'").fetchone() == (0,)
    verified = project.attestrl("ledger", "verify", "--json")
    assert json.loads(verified.stdout)["ok"], verified.stdout
