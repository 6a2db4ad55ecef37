"""What orchestration costs: python -m benchmarks.orchestration [repeats]; prints one JSON line.

Side by side, each a process of its own, against the same kind of Prefect server (one that each starts for itself, as on
one machine, and one that runs already, as a team has it): an empty Prefect flow; a run of a shrunken pipeline in which
nothing has changed; and a run that makes everything, less its stages' own work (once). Then the unchanged run again, with
200 runs more in the MLflow store. Figures are medians with the smallest and largest; where other work shares the cores,
CPU seconds (of all processes) say more than seconds. Targets: 1.5 times the empty flow, and 1.1 times for the 200 runs.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import shrunken
from benchmarks.machine import described
from benchmarks.shrunken import PYTHON, SETS

RUNS = 200
EMPTY = "from prefect import flow\n@flow\ndef empty():\n    pass\nempty()"
FILL = """
import sys
from mlflow import MlflowClient
from tasks import lineage, params, paths, environment
environment.prepare()
experiment, client = lineage.connect(params.load(paths.PARAMS).project), MlflowClient()
for n in range(int(sys.argv[1])):
    run = client.create_run(experiment, run_name=f"filler-{n}").info.run_id
    for step in range(20):
        client.log_metric(run, "loss", 1 / (step + 1), step=step)
    client.set_terminated(run)
"""


def main(repeats: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        project = shrunken.copied(Path(name) / "project")
        environment = shrunken.environment(Path(name))
        seconds, _, said = _timed([*PYTHON, "flows.cli", "run", "--json", *SETS], project, environment)
        stages = json.loads(said)["stages"]
        whole = seconds - sum(s["seconds"] for s in stages)
        assert all(s["outcome"] == "made" for s in stages), said
        embedded = _compare(project, environment, repeats)
        with shrunken.server(environment, Path(name)) as (url, _):
            served = _compare(project, environment | {"PREFECT_API_URL": url}, repeats)
            subprocess.run([sys.executable, "-c", FILL, str(RUNS)], cwd=project, env=environment, check=True)
            full = _compare(project, environment | {"PREFECT_API_URL": url}, repeats)
        return {
            "repeats": repeats,
            "embedded": embedded,
            "served": served,
            "whole_run_less_its_stages_s": round(whole, 2),
            "whole_run_times_empty": round(whole / embedded["empty"]["seconds"][1], 2),
            f"served_with_{RUNS}_runs_more": full,
            "slower_with_them_cpu": round(full["unchanged"]["cpu"][1] / served["unchanged"]["cpu"][1], 2),
            "load": [round(x, 1) for x in os.getloadavg()],
            **described(),
        }


def _compare(project: Path, environment: dict[str, str], repeats: int) -> dict[str, Any]:
    """The empty flow and the unchanged run, in turns; the first of each, which fills caches, does not count."""
    commands = {"empty": [sys.executable, "-c", EMPTY], "unchanged": [*PYTHON, "flows.cli", "run", "--json"]}
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for number in range(repeats + 1):
        for name, command in commands.items():
            seconds, cpu, said = _timed(command, project, environment)
            assert name == "empty" or all(s["outcome"] == "cached" for s in json.loads(said)["stages"]), said
            if number:
                measured[name].append((seconds, cpu))
    found: dict[str, Any] = {n: {"seconds": _spread(m, 0), "cpu": _spread(m, 1)} for n, m in measured.items()}
    for figure in ("seconds", "cpu"):
        found[f"times_empty_{figure}"] = round(found["unchanged"][figure][1] / found["empty"][figure][1], 2)
    return found


def _spread(measured: list[tuple[float, float]], which: int) -> list[float]:
    """Smallest, median, largest."""
    figures = [m[which] for m in measured]
    return [round(x, 2) for x in (min(figures), statistics.median(figures), max(figures))]


def _timed(command: list[str], project: Path, environment: dict[str, str]) -> tuple[float, float, str]:
    """Seconds, CPU seconds of the process and all that it waited for, and what it printed."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=project, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode in (0, 1), done.returncode  # the gate may refuse so small a policy
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - started, cpu, done.stdout


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)))
