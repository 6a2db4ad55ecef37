"""Runs that schedules and triggers start, all queued at once: each is made from what was there when it was queued, in a git
worktree of its own, and people may change the project's folder meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from governance.digest import sha256_path
from governance.entry import Event
from governance.ledger import Ledger
from tests.end_to_end.conftest import Project, outcomes
from tests.processes import stage_of
from tests.servers import program, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.production, pytest.mark.xdist_group("pipeline")]
RUNS = int(os.environ.get("QUEUED_RUNS", "2"))  # 10 were done by hand (docs/production.md): every one trains a policy
RUN = "from flows.scheduled import scheduled_run; print(scheduled_run(return_state=True).message)"
QUEUED = "waits for its turn"


def change(folder: Path, kl_coef: float) -> None:
    file = folder / "params.yaml"
    settings = yaml.safe_load(file.read_text())
    settings["ppo"]["kl_coef"] = kl_coef
    file.write_text(yaml.safe_dump(settings))


@contextmanager
def restored(*files: Path) -> Iterator[None]:
    """Files that are changed meanwhile; also if the test fails, for others use the project."""
    before = [file.read_text() for file in files]
    try:
        yield
    finally:
        for file, text in zip(files, before, strict=True):
            file.write_text(text)


def test_queued_runs_do_not_mix(project: Project, first: dict[str, Any]) -> None:
    folder = project.folder
    coefficients = [round(0.4137 + n / 100, 4) for n in range(RUNS)]  # of which no other test has DVC remember a policy
    environment = project.environment | {"PREFECT_LOGGING_LEVEL": "INFO"}
    logs, runs = [folder.parent / f"queued-{n}" for n in range(RUNS + 1)], []
    ledger = Ledger(folder / ".attestrl/ledger.jsonl")
    killed_before = sum(e.type == Event.RUN_KILLED for e in ledger.entries())
    started = time.monotonic()
    with restored(folder / "params.yaml", folder / "tasks/ppo.py"), ExitStack() as running:
        with FileLock(folder / ".attestrl/run.lock"):  # a run that is under way
            for coefficient, log in zip([*coefficients, 0.3137], logs, strict=True):
                change(folder, coefficient)
                runs.append(running.enter_context(program([sys.executable, "-c", RUN], environment, log, folder)))
                wait_until(lambda log=log: QUEUED in log.read_text(), log)  # type: ignore[misc]
            change(folder, 9.0)
            (folder / "tasks/ppo.py").write_text("raise SystemExit('being edited')\n")
        wait_until(lambda: any(stage_of(run.pid, "ppo") for run in runs if run.poll() is None), logs[0])
        (killed,) = (n for n, run in enumerate(runs) if run.poll() is None and stage_of(run.pid, "ppo"))
        os.kill(runs[killed].pid, signal.SIGKILL)
        for run in runs:
            run.wait(timeout=1800)

    found = ledger.verify()
    assert found.ok
    print(f"{RUNS} runs and a killed one: {time.monotonic() - started:.0f} s; {found.entries} entries verified")
    made = []
    for number, log in enumerate(logs):
        if number == killed:
            continue
        run_id = log.read_text().strip().splitlines()[-1]
        record = json.loads((folder / f".attestrl/records/{run_id}/run.json").read_text())
        assert (record["status"], outcomes(record)["ppo"]) == ("done", "made"), log.read_text()
        (configured,) = (e for e in ledger.entries(run_id) if e.type == Event.CONFIGURATION)
        assert configured.data["parameters"]["ppo"]["kl_coef"] == [*coefficients, 0.3137][number]
        print(f"queued as {number}: {run_id}, version {record['policy']['version']}, {record['seconds']} s")
        made.append(record)
    made.sort(key=lambda r: r["run_id"])
    versions = [int(r["policy"]["version"]) for r in made]
    assert versions == sorted(set(versions))
    assert len({r["policy"]["sha256"] for r in made}) == RUNS
    assert sum(e.type == Event.RUN_KILLED for e in ledger.entries()) == killed_before + 1

    assert sha256_path(folder / "data/models/policy") == made[-1]["policy"]["sha256"]
    assert not list((folder / ".attestrl/worktrees").iterdir())
    listed = subprocess.run(["git", "worktree", "list"], cwd=folder, capture_output=True, text=True, check=True)
    assert len(listed.stdout.splitlines()) == 1
