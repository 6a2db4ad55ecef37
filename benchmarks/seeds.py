"""The default pipeline with several seeds: python -m benchmarks.seeds [--seeds 7,8,9,10,11] [--keep FOLDER]; one JSON line.

Every seed is a whole run of its own, in a clone of the last commit: another simulated panel, another order of rows,
other samples, other initial heads; the sides of the split are the same, as they follow from the prompts. A figure's
interval is Student's over the seeds (level .95), so that it covers what differs from training to training; the interval
inside a run covers the held-out prompts alone. With `--keep` a seed that was finished is not run again.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.machine import described

ROOT = Path(__file__).resolve().parents[1]
LEVEL = 0.95


def run_seed(seed: int, folder: Path) -> dict[str, Any]:
    """Metrics of the default pipeline with this seed; seconds of the whole command."""
    with tempfile.TemporaryDirectory(prefix="attestrl-seed-") as name:
        clone = Path(name) / "project"
        subprocess.run(["git", "clone", "--quiet", "--local", str(ROOT), str(clone)], check=True)
        started = time.monotonic()
        command = [sys.executable, "-m", "flows.cli", "run", "--json", "--set", f"seed={seed}"]
        done = subprocess.run(command, cwd=clone, stdout=subprocess.PIPE, text=True, check=False)
        record = json.loads(done.stdout)
        if record["status"] == "failed":
            sys.exit(f"seed {seed}: {record['message']}")
        found = {
            "seed": seed,
            "seconds": round(time.monotonic() - started, 1),
            "gate": record["gate"]["verdict"],
            "reasons": record["gate"]["reasons"],
            "metrics": {name: figure["value"] for name, figure in record["metrics"].items()},
        }
        (folder / f"seed-{seed}.json").write_text(json.dumps(found), encoding="utf-8")
        return found


def interval(values: list[float]) -> dict[str, float]:
    """Mean of the seeds with Student's interval."""
    from scipy.stats import t

    half = t.ppf((1 + LEVEL) / 2, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    middle = mean(values)
    return {"mean": round(middle, 4), "low": round(middle - half, 4), "high": round(middle + half, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="7,8,9,10,11", help="at least two")
    parser.add_argument("--keep", type=Path, help="folder of finished seeds")
    asked = parser.parse_args()
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="attestrl-seeds-"))
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for seed in seeds:
        kept = folder / f"seed-{seed}.json"
        found.append(json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else run_seed(seed, folder))
    figures = {name: interval([f["metrics"][name] for f in found]) for name in found[0]["metrics"]}
    verdicts = {f["seed"]: f["gate"] for f in found}
    print(json.dumps({"benchmark": "seeds", "seeds": seeds, "gate": verdicts, "figures": figures, **described()}))


if __name__ == "__main__":
    main()
