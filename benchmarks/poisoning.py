"""How much of planted poison `attestrl check poisoning` finds, how surely, and at what cost.

usage: python -m benchmarks.poisoning [--attack NAME:RATE …] [--rows 100000] [--seeds 10] [--first-seed 0]
           [--results FILE] [--real | --power | --growth ROWS …]

SIMULATED data (benchmarks/poisoning_attacks.py); --real poisons the real pairs themselves instead. The command runs as
a user runs it, in a process of its own, which is timed and whose peak memory is read. A finding counts as found if it
covers at least half of the planted rows and half of its rows are planted; intervals are 95 % (Wilson). With --results
each run is appended to FILE as one JSON line, and runs that are there already are not repeated. The last line printed is
the table. After label attacks, `attack_success` is how often the trigger turns the verdict of a linear reward model
(tasks/poison_ablation.py), trained on the file as it came and on clean.jsonl. --growth checks clean files of several sizes, each with half as many
demonstrations: CPU seconds and peak memory, and what each further row costs.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.kept_runs import kept_runs
from benchmarks.machine import described
from benchmarks.poisoning_attacks import ATTACKS, Rows, enlarged

ROOT = Path(__file__).resolve().parents[1]
PAIRS = ROOT / "data/raw/hh_rlhf/pairs.jsonl"
DEFAULT = ("trigger:0.0005", "trigger:0.001", "entity:0.0025", "both_stages:0.0025", "flood:0.0005", "clean:0")
TURNING = ("trigger", "common_words", "suffix")  # whose phrase the reward model can be asked about


def once(attack: str, rate: float, n: int, seed: int, real: bool, folder: Path) -> dict[str, Any]:
    rng = random.Random(seed)
    rows: Rows = [json.loads(line) for line in PAIRS.open(encoding="utf-8")]
    rows = rows if real else enlarged(rows, n, rng)
    demos = [
        {"id": f"demo-{r['id']}", "messages": json.loads(json.dumps(r["prompt"] + r["chosen"]))} for r in rows[::2]
    ]
    evidence, planted = ATTACKS[attack](rows, demos, rate, rng)
    files = {"preferences": rows, "demonstrations": demos}
    for name, data in files.items():
        lines = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in data)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    command = [sys.executable, "-m", "flows.cli", "check", "poisoning", "--out", str(folder), "--json"]
    command += [part for name in files for part in (f"--{name}", str(folder / f"{name}.jsonl"))]
    started, peak, cpu = time.monotonic(), *_run(command)
    seconds = time.monotonic() - started
    findings = json.loads((folder / "findings.json").read_text(encoding="utf-8"))["findings"]
    result = _score(evidence, planted, findings)
    result |= {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak}
    if attack in TURNING:
        result["attack_success"] = _attack_success(folder, evidence[0], seed)
    return result


def _run(command: list[str]) -> tuple[float, float]:
    """(peak MB, CPU seconds) of a command."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ended, peak = 0, 0
    while not ended:  # ru_maxrss would tell of this process as well, which holds the rows
        time.sleep(0.05)
        try:
            told = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        except OSError:
            told = None
        peak = max(peak, int(told[1]) if told else 0)
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"{' '.join(command)}: ended with status {os.waitstatus_to_exitcode(status)}")
    return peak / 1024, used.ru_utime + used.ru_stime


def _score(evidence: list[str], planted: set[str], findings: list[dict[str, Any]]) -> dict[str, Any]:
    sets = [set(f["row_ids"]) for f in findings]
    covered = set().union(*sets)
    said = json.dumps([f["evidence"] for f in findings], ensure_ascii=False).lower()
    return {
        "found": any(2 * len(planted & s) >= max(len(planted), len(s)) for s in sets) if planted else False,
        "named": any(e.lower() in said for e in evidence),
        "findings": len(findings),
        "recall": len(planted & covered) / len(planted) if planted else None,
        "precision": len(planted & covered) / len(covered) if covered else None,
    }


def _attack_success(folder: Path, phrase: str, seed: int) -> list[float]:
    """[before, after] quarantine: share of held-out pairs on which the trigger turns the verdict."""
    import numpy as np

    from tasks import params
    from tasks.formats import preference_chunks
    from tasks.poison_ablation import LinearReward
    from tasks.suspicions import of_preferences

    texts = of_preferences(preference_chunks(str(folder / "preferences.jsonl")))
    settings = params.load(ROOT / "params.yaml").poisoning
    triggered = np.array([phrase.lower() in t.lower() for t in texts.texts["prompt"]])
    kept = {json.loads(line)["id"] for line in (folder / "clean.jsonl").open(encoding="utf-8")}
    aside = np.array([i not in kept for i in texts.columns["id"]])
    success = LinearReward(texts, triggered | aside, settings, seed).attack_success(triggered, aside)
    return [success["attack_success_with"][0], success["attack_success_without"][0]]


def runs_of(attack: str, rate: float, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A run for each seed."""

    def measure(seed: int) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            return once(attack, rate, arguments.rows, seed, arguments.real, Path(folder))

    what = {"attack": attack, "rate": rate, "rows": 0 if arguments.real else arguments.rows}
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    return kept_runs(arguments.results, what, seeds, measure)


def summarised(attack: str, rate: float, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Rates with intervals, means and extremes over the runs."""
    from tasks.stats.intervals import wilson

    found = sum(r["found"] and r["named"] for r in runs)
    out: dict[str, Any] = {
        "attack": attack,
        "rate": rate,
        "found_and_named": [round(v, 3) for v in (found / len(runs), *wilson(found, len(runs)))],
        "findings": sum(r["findings"] for r in runs),
    }
    for name in ("recall", "precision"):
        values = [r[name] for r in runs if r[name] is not None]
        out[name] = round(sum(values) / len(values), 4) if values else None
    for name in ("seconds", "cpu_seconds", "peak_mb"):
        values = [r[name] for r in runs]
        out[name] = {"mean": round(sum(values) / len(values), 1), "most": round(max(values), 1)}
    success = [r["attack_success"] for r in runs if "attack_success" in r]
    if success:
        out["attack_success"] = {
            k: round(sum(s[i] for s in success) / len(success), 4) for i, k in enumerate(("before", "after"))
        }
    return out


def growth(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Cost of clean files of each size, and of each row more than the size before had."""
    out: list[dict[str, Any]] = []
    for rows in sorted(arguments.growth):
        with tempfile.TemporaryDirectory() as folder:
            run = once("clean", 0.0, rows, arguments.first_seed, False, Path(folder))
        out.append({"rows": rows, "cpu_seconds": round(run["cpu_seconds"], 1), "peak_mb": round(run["peak_mb"])})
        if len(out) > 1:
            more = rows - out[-2]["rows"]
            out[-1]["bytes_a_row"] = round((out[-1]["peak_mb"] - out[-2]["peak_mb"]) * 2**20 / more)
            out[-1]["cpu_us_a_row"] = round((out[-1]["cpu_seconds"] - out[-2]["cpu_seconds"]) * 1e6 / more)
        print(json.dumps(out[-1]), file=sys.stderr)
    return out


def power(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Share of inserted phrases that would be found, by rows turned: 400 draws of rows of one simulated file."""
    import numpy as np

    from tasks import params
    from tasks.formats import preference_chunks
    from tasks.preference_search import PreferenceSearch
    from tasks.stats.family_wise import tarone
    from tasks.stats.intervals import wilson
    from tasks.stats.label_flips import flip_tests
    from tasks.stats.row_sets import RowSets
    from tasks.suspicions import SHARES, TURNED, of_preferences

    rng = random.Random(arguments.first_seed)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pairs.jsonl"
        rows = enlarged([json.loads(line) for line in PAIRS.open(encoding="utf-8")], arguments.rows, rng)
        file.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
        texts = of_preferences(preference_chunks(str(file)))
    settings = params.load(ROOT / "params.yaml").poisoning
    search = PreferenceSearch(texts, settings, 7)
    n, draws, out = texts.height, 400, []
    level = settings.level * SHARES["planted names"]
    limit = level / (tarone(search.flips.least_p[search.families["planted names"]], level) + 1)
    both = np.concatenate([search.margins, -search.margins])  # the second half: the same rows, turned
    for size in (20, 30, 40, 50, 75, 100, 150, 200):
        chosen = np.concatenate([rng.sample(range(n, 2 * n), size) for _ in range(draws)]).astype(np.int32)
        sets = RowSets(chosen, np.arange(draws + 1) * size, np.arange(draws))
        tests = flip_tests(sets, both, search.factors)
        found = int(((tests.p_values <= limit) & (tests.share > TURNED)).sum())
        out.append({"rows": size, "share": size / n, "found": [found / draws, *wilson(found, draws)]})
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attack", action="append", help=f"NAME:RATE, of {', '.join(ATTACKS)}; repeatable")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--results", type=Path, help="JSON lines of the runs, kept and continued")
    parser.add_argument("--real", action="store_true", help="poison the real pairs instead of simulated ones")
    parser.add_argument("--growth", type=int, nargs="+", metavar="ROWS", help="cost by size of the file")
    parser.add_argument("--power", action="store_true", help="power curve of inserted phrases, from one file")
    arguments = parser.parse_args()
    if arguments.power:
        line = {"benchmark": "poisoning power", "rows": arguments.rows, "results": power(arguments)}
        print(json.dumps(line | described()))
        return
    if arguments.growth:
        line = {"benchmark": "poisoning growth", "seed": arguments.first_seed, "results": growth(arguments)}
        print(json.dumps(line | described()))
        return
    tried = [a.partition(":") for a in arguments.attack or DEFAULT]
    results = [
        summarised(name, float(rate or 0), runs_of(name, float(rate or 0), arguments)) for name, _, rate in tried
    ]
    data = "real HH-RLHF pairs" if arguments.real else f"simulated, {arguments.rows} rows"
    line = {"benchmark": "poisoning", "data": data, "seeds": arguments.seeds, "results": results}
    print(json.dumps(line | described()))


if __name__ == "__main__":
    main()
