"""Many runs in a row by one `attestrl serve`: python -m benchmarks.endurance [runs] [--stack]; prints one JSON line.

A shrunken pipeline runs once; then the deployment that schedules start is run again and again, each run once the one before
it has ended, against one Prefect server, or with `--stack` against the servers of deploy/ (PostgreSQL, Prefect, MLflow, Redis
where it is installed), which the tests start. After each run: processes, open files, connections and resident memory of the
serving process with all that it started, and of each server, and the connections to each of PostgreSQL's databases. What a leak
looks like is growth from the early runs (the sixth to the fifteenth; the first five fill caches) to the last ten; the target is
5 % of memory, and nothing of the rest.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks import shrunken
from benchmarks.machine import described
from benchmarks.shrunken import PYTHON, SETS

if TYPE_CHECKING:
    from tests.servers import Postgres

RUNS, WARM, SPAN = 50, 5, 10
DEPLOYMENT = "attestrl-scheduled/scheduled"
OPEN_GATE = {
    "min_reward_accuracy_low": 0,
    "min_win_rate_low": 0,
    "max_kl": 1000,
    "max_length_ratio": 100,
}  # tiny policies pass
FIGURES = ("processes", "files", "connections", "memory_mb")


@dataclass(frozen=True)
class Servers:
    """The environment that leads to them, the process of each, and their database, if it is PostgreSQL."""

    environment: dict[str, str]
    processes: dict[str, int]
    database: "Postgres | None" = None


def main(runs: int, stack: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        project = shrunken.copied(Path(name) / "project")
        gate = [part for key, value in OPEN_GATE.items() for part in ("--set", f"gate.{key}={value}")]
        with (_stack if stack else _prefect)(Path(name)) as servers:
            own = shrunken.environment(Path(name)) | servers.environment
            _lead_here(servers.environment)
            first = [*PYTHON, "flows.cli", "run", "--json", *SETS, *gate]
            subprocess.run(first, cwd=project, env=own, stdout=subprocess.DEVNULL, check=False)
            with (Path(name) / "serve.log").open("w") as log:
                serve = subprocess.Popen([*PYTHON, "flows.cli", "serve"], cwd=project, env=own, stdout=log, stderr=log)
            try:
                seen = _watched({"serve": serve.pid, **servers.processes}, servers.database, runs)
            finally:
                serve.terminate()
                serve.wait()
            verify = [*PYTHON, "flows.cli", "ledger", "verify"]
            said = subprocess.run(verify, cwd=project, env=own, stdout=subprocess.DEVNULL, check=False)
        left = [p.name for f in ("worktrees", "undelivered") for p in (project / ".attestrl" / f).glob("*")]
    return {
        "benchmark": "endurance",
        "runs": runs,
        "seconds_median": round(statistics.median(s.seconds for s in seen), 2),
        "states": sorted({s.state for s in seen}),
        "growth": {who: {f: _growth([s.figures[who][f] for s in seen]) for f in FIGURES} for who in seen[0].figures},
        "postgres_connections": {
            d: _levels([s.postgres.get(d, 0) for s in seen]) for d in sorted({d for s in seen for d in s.postgres})
        },
        "left_behind": left,
        "ledger_verifies": said.returncode == 0,
        **described(),
    }


def _lead_here(environment: dict[str, str]) -> None:
    """Prefect's clients in this process, too, which may have read their settings before."""
    from prefect.context import refresh_global_settings_context

    os.environ.update(environment)
    refresh_global_settings_context()


@contextmanager
def _prefect(home: Path) -> Iterator[Servers]:
    """A Prefect server with SQLite."""
    with shrunken.server(shrunken.environment(home), home) as (url, process):
        yield Servers({"PREFECT_API_URL": url}, {"prefect": process})


@contextmanager
def _stack(home: Path) -> Iterator[Servers]:
    """The servers of deploy/."""
    from tests.production.conftest import started

    folder = home / "stack"
    folder.mkdir()
    with started(folder) as stack:
        leads = ("PREFECT_", "MLFLOW_", "ATTESTRL_")
        children = {p.pid: p.cmdline() for p in psutil.Process().children()}
        found = {s: next(pid for pid, line in children.items() if s in line) for s in ("prefect", "mlflow")}
        yield Servers({k: v for k, v in stack.environment.items() if k.startswith(leads)}, found, stack.postgres)


@dataclass
class Seen:
    """A run's state and seconds, and what there was after it: figures by process, connections by database."""

    state: str
    seconds: float
    figures: dict[str, dict[str, float]]
    postgres: dict[str, int] = field(default_factory=dict)


def _watched(processes: dict[str, int], database: "Postgres | None", runs: int) -> list[Seen]:
    seen: list[Seen] = []
    _wait_for_deployment()
    for number in range(runs):
        started = time.monotonic()
        state = _one()
        seconds = time.monotonic() - started
        time.sleep(2)  # what a run started has ended by then
        seen.append(Seen(state, seconds, {who: _figures(pid) for who, pid in processes.items()}))
        if database:
            seen[-1].postgres = _connections(database)
        print(f"run {number + 1} of {runs}: {seen[-1]}", file=sys.stderr, flush=True)
    return seen


def _connections(database: "Postgres") -> dict[str, int]:
    """Of clients, by database, without this one."""
    import psycopg2

    with closing(psycopg2.connect(database.url("postgres"))) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT datname, count(*) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() GROUP BY datname"
        )
        return dict(cursor.fetchall())


def _wait_for_deployment() -> None:
    from prefect import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        while True:
            try:
                client.read_deployment_by_name(DEPLOYMENT)
            except ObjectNotFound:
                time.sleep(0.5)
            else:
                return


def _one() -> str:
    """Run the deployment as a schedule does; the name of the state in which it ended, with what a failure says."""
    from prefect.deployments import run_deployment

    run = run_deployment(DEPLOYMENT, timeout=600, poll_interval=1, as_subflow=False)
    state = run.state  # type: ignore[union-attr]
    return "Completed" if state.is_completed() else f"{state.name}: {state.message}"


def _figures(pid: int) -> dict[str, float]:
    """Of a process and all that it started; what ends meanwhile does not count."""
    root = psutil.Process(pid)
    figures = dict.fromkeys(FIGURES, 0.0)
    for process in [root, *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess), process.oneshot():
            counted = 1, process.num_fds(), len(process.net_connections()), process.memory_info().rss / 1e6
            for name, count in zip(FIGURES, counted, strict=True):
                figures[name] += count
    return {name: round(value, 1) for name, value in figures.items()}


def _levels(figures: list[float]) -> list[float]:
    """[median of the early runs, median of the last]."""
    return [statistics.median(f) for f in (figures[WARM : WARM + SPAN] or figures, figures[-SPAN:])]


def _growth(figures: list[float]) -> list[float]:
    """[median of the early runs, median of the last, ratio]."""
    early, late = _levels(figures)
    return [early, late, round(late / early, 3)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=int, nargs="?", default=RUNS)
    parser.add_argument("--stack", action="store_true")
    given = parser.parse_args()
    print(json.dumps(main(given.runs, given.stack)))
