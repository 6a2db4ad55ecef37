"""Time and peak memory of the stages `ingest` and `validate` on N preference rows; one JSON line a run.

    python benchmarks/ingest.py --rows 5000000

The rows are the real ones of data/raw/hh_rlhf again and again, each time with other ids and another first word in the
prompt, so that every round's prompts are split anew. Everything else is as in params.yaml, with the simulated panel's
votes. Each stage runs in a process of its own, in a temporary folder, as `dvc repro` would start it; its peak memory is
the most that the whole process ever had resident.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from machine import machine

ROOT = Path(__file__).resolve().parents[1]
PAIRS = Path("data/raw/hh_rlhf/pairs.jsonl")
PACKAGES = ("polars", "pyarrow", "pandera", "great_expectations", "mlflow")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--folder", type=Path, help="where the temporary folder is made (20 GB for 5,000,000 rows)")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="attestrl-bench-") as name:
        folder = Path(name)
        size = make_project(folder, given.rows)
        stages = {stage: run_stage(folder, stage) for stage in ("ingest", "validate")}
        sides = json.loads((folder / "data/reports/ingest/summary.json").read_text(encoding="utf-8"))["tables"]
    line = {
        "benchmark": "ingest",
        "rows": given.rows,
        "input_mb": round(size / 1e6, 1),
        "votes": sides["votes"]["rows"],
        "seconds": round(sum(s["seconds"] for s in stages.values()), 1),
        "cpu_seconds": round(sum(s["cpu_seconds"] for s in stages.values()), 1),
        "peak_rss_mb": max(s["peak_rss_mb"] for s in stages.values()),
        "stages": stages,
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "machine": machine(),
    }
    print(json.dumps(line))


def make_project(folder: Path, rows: int) -> int:
    """params.yaml, the vote files as they are, and `rows` pairs; gives the size of the pairs in bytes."""
    shutil.copy(ROOT / "params.yaml", folder)
    for name in ("crowdtruth_rte", "crowdflower_timed"):
        shutil.copytree(ROOT / "data/raw" / name, folder / "data/raw" / name)
    real = [json.loads(line) for line in (ROOT / PAIRS).read_text(encoding="utf-8").splitlines()]
    out = folder / PAIRS
    out.parent.mkdir(parents=True)
    with out.open("w", encoding="utf-8") as file:
        for number in range(rows):
            file.write(json.dumps(varied(real[number % len(real)], number // len(real))) + "\n")
    return out.stat().st_size


def varied(row: dict[str, Any], again: int) -> dict[str, Any]:
    """The row as it stands in the `again`-th round."""
    first, *rest = row["prompt"]
    opening = {**first, "content": f"Case {again}: {first['content']}"}
    return {**row, "id": f"{row['id']}-{again}", "prompt": [opening, *rest]}


def run_stage(folder: Path, stage: str) -> dict[str, float]:
    """Run a stage as a program; seconds, processor time and the most memory that it had."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ATTESTRL_HOME": str(folder / ".attestrl")}
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", f"tasks.{stage}"], cwd=folder, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{stage} ended with exit code {process.returncode}")
    return {
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_rss_mb": round(usage.ru_maxrss / 1024 if sys.platform != "darwin" else usage.ru_maxrss / 2**20),
    }


if __name__ == "__main__":
    main()
