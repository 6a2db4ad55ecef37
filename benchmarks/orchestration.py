"""What orchestration costs: python -m benchmarks.orchestration [repeats]; prints one JSON line.

Side by side, each a process of its own, against the same kind of Prefect server (one that each starts for itself, as on
one machine, and one that runs already, as a team has it): an empty Prefect flow; a run of a shrunken pipeline in which
nothing has changed; and a run that makes everything, less its stages' own work: the first run of a project, beside an
empty flow in a home of its own, as both set up Prefect's database, and a later one; and later ones against the server that
runs already. Then, of the server that runs already, flow runs of deployments that are
served, ours by `attestrl serve` and an empty one by Prefect, from pending to their end. Then the unchanged run again, with
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
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import shrunken
from benchmarks.machine import described
from benchmarks.shrunken import PYTHON, SETS

RUNS = 200
EMPTY = "from prefect import flow\n@flow\ndef empty():\n    pass\nempty()"
SERVED = """from prefect import flow
@flow
def empty():
    pass
if __name__ == "__main__":
    empty.serve("empty", print_starting_message=False)
"""
ASK = """
import json, sys, time
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
repeats, *names = sys.argv[1:]
took = {name: [] for name in names}
with get_client(sync_client=True) as client:
    for name in names * int(repeats):
        while True:
            try:
                deployment = client.read_deployment_by_name(name)
                break
            except ObjectNotFound:
                time.sleep(0.2)
        run = client.create_flow_run_from_deployment(deployment.id)
        while not client.read_flow_run(run.id).state.is_final():
            time.sleep(0.1)
        states = client.read_flow_run_states(run.id)
        pending = next(s.timestamp for s in states if s.type.value == "PENDING")
        took[name].append((states[-1].timestamp - pending).total_seconds())
print(json.dumps(took))
"""
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
        command = [sys.executable, "-c", EMPTY]
        first_empty, _, _ = _timed(command, project, shrunken.environment(Path(name) / "empty"))
        first, later = (_whole(project, environment, seed) for seed in (0, 1))
        embedded = _compare(project, environment, repeats)
        with shrunken.server(environment, Path(name)) as (url, _):
            served = _compare(project, environment | {"PREFECT_API_URL": url}, repeats)
            whole = [_whole(project, environment | {"PREFECT_API_URL": url}, seed) for seed in range(2, 2 + repeats)]
            scheduled = _scheduled(project, environment | {"PREFECT_API_URL": url}, Path(name), repeats)
            subprocess.run([sys.executable, "-c", FILL, str(RUNS)], cwd=project, env=environment, check=True)
            full = _compare(project, environment | {"PREFECT_API_URL": url}, repeats)
        return {
            "repeats": repeats,
            "embedded": embedded,
            "served": served,
            "scheduled": scheduled,
            "first_empty_s": round(first_empty, 2),
            "first_run_less_its_stages_s": round(first, 2),
            "first_run_times_first_empty": round(first / first_empty, 2),
            "later_run_less_its_stages_s": round(later, 2),
            "later_run_times_empty": round(later / embedded["empty"]["seconds"][1], 2),
            "served_run_less_its_stages_s": [round(f(whole), 2) for f in (min, statistics.median, max)],
            "served_run_times_empty": round(statistics.median(whole) / served["empty"]["seconds"][1], 2),
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


def _whole(project: Path, environment: dict[str, str], seed: int) -> float:
    """Seconds of a run that makes every stage, or all that the seed reaches, less those of its stages."""
    command = [*PYTHON, "flows.cli", "run", "--json", *SETS, "--set", f"seed={seed}"]
    seconds, _, said = _timed(command, project, environment)
    stages = json.loads(said)["stages"]
    assert stages[0]["outcome"] == stages[-1]["outcome"] == "made", said
    return seconds - float(sum(s["seconds"] for s in stages))


def _scheduled(project: Path, environment: dict[str, str], folder: Path, repeats: int) -> dict[str, Any]:
    """Flow runs of deployments, in turns; the first of each does not count. Seconds from pending to the end."""
    (folder / "served.py").write_text(SERVED)
    ours, empty = "attestrl-scheduled/scheduled", "empty/empty"
    with ExitStack() as running:
        for command, place in (([*PYTHON, "flows.cli", "serve"], project), ([sys.executable, "served.py"], folder)):
            process = subprocess.Popen(
                command, cwd=place, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            running.callback(process.wait)
            running.callback(process.terminate)
        measured = json.loads(
            subprocess.run(
                [sys.executable, "-c", ASK, str(repeats + 1), ours, empty],
                env=environment, stdout=subprocess.PIPE, check=True,
            ).stdout
        )  # fmt: skip
    found = {name: [(seconds, 0.0) for seconds in measured[name][1:]] for name in (ours, empty)}
    times = round(_spread(found[ours], 0)[1] / _spread(found[empty], 0)[1], 2)
    return {"empty": _spread(found[empty], 0), "unchanged": _spread(found[ours], 0), "times_empty": times}


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
