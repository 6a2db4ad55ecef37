"""Alignment after a later fine-tune of a released policy: full, low learning rate, LoRA, at equal gain.

    python -m benchmarks.fine_tuning [--project FOLDER] [--problems FILE] [--items 100] [--seeds 7 8 9]

Needs a project folder in which a run has ended. A seed draws problems, prompts, responses, batches and adapters; the
policy is the same. One line of JSON: for each seed the gains and the figures at equal gain with their intervals over prompts, and the
mean over seeds with the interval of Student's t.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

from benchmarks.machine import described
from tasks import paths
from tasks.evals import fine_tuning
from tasks.evals.bench import Bench
from tasks.evals.response_cache import ResponseCache
from tasks.evaluation_params import FineTuning, Suite

ROOT = Path(__file__).resolve().parents[1]
KEPT = ("value", "low", "high", "n")


def measured(project: Path, problems: str, items: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """({metric: figure}, notes) of one seed: gains, and what is lost at equal gain."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            settings=Suite(items=items, fine_tuning=FineTuning(data={"problems": problems})),
            seed=seed,
            policies={"policy": project / paths.POLICY},
            rated={},
            scorers={"judge": project / paths.JUDGE},
            sides={n: project / paths.PROCESSED / f"{n}.parquet" for n in ("reward_test", "eval_prompts")},
            cache=ResponseCache(Path(folder) / "responses.sqlite"),
            max_length=256,
        )
        outcome = fine_tuning.run(bench)
    rows = [asdict(r) for r in outcome.results if "_at_equal_gain/" in r.metric or "/gain/" in r.metric]
    named = {r["metric"].split("/", 2)[2] + (f", {r['slice']}" if r["slice"] else ""): r for r in rows}
    return {name: {k: r[k] for k in KEPT} for name, r in named.items()}, outcome.notes


def over_seeds(found: list[dict[str, Any]]) -> dict[str, Any]:
    """{metric: {value, low, high}}: mean over seeds, 95 % by Student's t where there are two or more."""
    means: dict[str, Any] = {}
    for metric in set.intersection(*(set(f) for f in found)):
        values = np.array([f[metric]["value"] for f in found])
        mean, low, high = float(values.mean()), None, None
        if len(values) > 1:
            reach = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
            low, high = mean - float(reach), mean + float(reach)
        means[metric] = {"value": mean, "low": low, "high": high}
    return dict(sorted(means.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, default=ROOT)
    parser.add_argument("--problems", default=str(ROOT / "data/raw/gsm8k/train.jsonl.gz"))
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    arguments = parser.parse_args()
    used = time.process_time()
    runs = [measured(arguments.project, arguments.problems, arguments.items, seed) for seed in arguments.seeds]
    line = {
        "benchmark": "fine_tuning",
        "items": arguments.items,
        "seeds": {s: {"figures": f, "notes": n} for s, (f, n) in zip(arguments.seeds, runs, strict=True)},
        "over_seeds": over_seeds([f for f, _ in runs]),
        "cpu_seconds": round(time.process_time() - used, 1),
    }
    print(json.dumps(line | described()))


if __name__ == "__main__":
    main()
