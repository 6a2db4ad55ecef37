"""What it saves that stages begin with their libraries loaded: python -m benchmarks.loading [--rounds N]; one JSON line.

In a shrunken project whose data is prepared, stages are made again and again by DVC in a new process and by a fork of one
that has the libraries loaded, alternating. Also: how long that process takes to load them, and its memory.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.machine import described
from benchmarks.shrunken import PYTHON, SETS, copied, environment
from flows import dvc_calls
from flows.dvc_calls import Call, Warm, cold
from tasks.environment import prepare
from tasks.paths import STAGES

MEASURED = ("poisoning", "curate", "base")  # what they do themselves takes one or two seconds


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="attestrl-loading-") as place:
        folder, own = copied(Path(place) / "project"), environment(Path(place))
        command = [*PYTHON, "flows.cli", "run", *SETS, "--until", MEASURED[-1]]
        subprocess.run(command, cwd=folder, env=own, check=True, stdout=sys.stderr)
        os.environ.clear()
        os.environ.update(own)
        with contextlib.chdir(folder), dvc_calls.caller(STAGES[1:]) as call:
            prepare()
            assert isinstance(call, Warm)
            began = time.monotonic()
            while not call.ready():
                time.sleep(0.1)
            loading, memory = time.monotonic() - began, psutil.Process(call.process.pid).memory_info().rss / 2**20
            seconds: dict[str, dict[str, list[float]]] = {s: {"new": [], "fork": []} for s in MEASURED}
            for _ in range(rounds):
                for stage in MEASURED:
                    for way, by in (("new", cold), ("fork", call)):
                        seconds[stage][way].append(made(by, stage))
    median = {s: {way: round(statistics.median(each), 2) for way, each in ways.items()} for s, ways in seconds.items()}
    found = {"seconds": median, "rounds": seconds, "loading_seconds": round(loading, 1), "loaded_mb": round(memory)}
    print(json.dumps({"benchmark": "loading", **found, **described()}))


def made(by: Call, stage: str) -> float:
    """Seconds that it took to make a stage again."""
    began = time.monotonic()
    code = by(["repro", "--quiet", "--force", "--single-item", stage], dict(os.environ))
    assert code == 0, f"{stage} ended with {code}"
    return round(time.monotonic() - began, 2)


if __name__ == "__main__":
    main()
