"""Many runs in a row by one `attestrl serve`: python -m benchmarks.endurance [runs]; prints one JSON line.

A shrunken pipeline runs once; then the deployment that schedules start is run again and again, each run once the one before
it has ended, against one Prefect server. After each run: processes, open files, connections and resident memory of the
serving process with all that it started, and of the Prefect server. What a leak looks like is growth from the early runs
(the sixth to the fifteenth; the first five fill caches) to the last ten; the target is 5 % of memory, and nothing of the rest.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks import shrunken
from benchmarks.machine import described
from benchmarks.shrunken import PYTHON, SETS

RUNS, WARM, SPAN = 50, 5, 10
DEPLOYMENT = "attestrl-scheduled/scheduled"
OPEN_GATE = {
    "min_reward_accuracy_low": 0,
    "min_win_rate_low": 0,
    "max_kl": 1000,
    "max_length_ratio": 100,
}  # tiny policies pass
FIGURES = ("processes", "files", "connections", "memory_mb")


def main(runs: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        project = shrunken.copied(Path(name) / "project")
        own = shrunken.environment(Path(name))
        gate = [part for key, value in OPEN_GATE.items() for part in ("--set", f"gate.{key}={value}")]
        first = [*PYTHON, "flows.cli", "run", "--json", *SETS, *gate]
        subprocess.run(first, cwd=project, env=own, stdout=subprocess.DEVNULL, check=False)
        with shrunken.server(own, Path(name)) as (url, server):
            os.environ["PREFECT_API_URL"] = url
            own |= {"PREFECT_API_URL": url}
            with (Path(name) / "serve.log").open("w") as log:
                serve = subprocess.Popen([*PYTHON, "flows.cli", "serve"], cwd=project, env=own, stdout=log, stderr=log)
            try:
                seen = _watched({"serve": serve.pid, "server": server}, runs)
            finally:
                serve.terminate()
                serve.wait()
        left = [p.name for f in ("worktrees", "undelivered") for p in (project / ".attestrl" / f).glob("*")]
        verify = [*PYTHON, "flows.cli", "ledger", "verify"]
        said = subprocess.run(verify, cwd=project, env=own, stdout=subprocess.DEVNULL, check=False)
    return {
        "benchmark": "endurance",
        "runs": runs,
        "seconds_median": round(statistics.median(s["seconds"] for s in seen), 2),
        "states": sorted({s["state"] for s in seen}),
        "growth": {who: {f: _growth([s[who][f] for s in seen]) for f in FIGURES} for who in ("serve", "server")},
        "left_behind": left,
        "ledger_verifies": said.returncode == 0,
        **described(),
    }


def _watched(processes: dict[str, int], runs: int) -> list[dict[str, Any]]:
    """State, seconds and figures of each run."""
    seen: list[dict[str, Any]] = []
    _wait_for_deployment()
    for number in range(runs):
        started = time.monotonic()
        state = _one()
        seconds = time.monotonic() - started
        time.sleep(2)  # what a run started has ended by then
        seen.append({"state": state, "seconds": seconds} | {who: _figures(pid) for who, pid in processes.items()})
        print(f"run {number + 1} of {runs}: {seen[-1]}", file=sys.stderr, flush=True)
    return seen


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
    """Of a process and all that it started."""
    root = psutil.Process(pid)
    every = [root, *root.children(recursive=True)]
    return {
        "processes": len(every),
        "files": sum(p.num_fds() for p in every),
        "connections": sum(len(p.net_connections()) for p in every),
        "memory_mb": round(sum(p.memory_info().rss for p in every) / 1e6, 1),
    }


def _growth(figures: list[float]) -> list[float]:
    """[median of the early runs, median of the last, ratio]."""
    early, late = (statistics.median(f) for f in (figures[WARM : WARM + SPAN], figures[-SPAN:]))
    return [early, late, round(late / early, 3)]


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS)))
