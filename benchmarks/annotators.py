"""How many bad annotators are found, and how many honest ones are accused, on simulated crowds. One JSON line.

    python benchmarks/annotators.py [--scenario NAME …] [--seeds 10 --first-seed 0] [--items N --annotators N] [--peers]
        [--results FILE]
    python benchmarks/annotators.py --power [--seeds 5 --first-seed 0]

Every seed makes a crowd, and `attestrl check annotators`'s own code reads it from Parquet in a fresh process that
reports its time after imports (wall and CPU) and its peak memory. Recall and false discoveries are pooled over seeds,
with Wilson intervals. `--peers` adds leave-one-out agreement and, where crowd-kit is installed, its methods, on the
same votes, with the threshold that an oracle would choose for 1 % false discoveries. `--power` measures recall against
the number of votes an annotator gave, with and without a stated confidence, five votes an item. With --results each
crowd is appended to FILE as one JSON line, and crowds that are there already are not repeated.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402

from benchmarks.kept_runs import kept_runs  # noqa: E402
from benchmarks.machine import described  # noqa: E402

MIX = {
    "inverted": 0.02, "random": 0.03, "always_first": 0.01, "always_longer": 0.01, "flipper40": 0.02,
    "topic_inverter": 0.02, "drift": 0.01, "colluding": 0.004, "overconfident": 0.01, "burst_bot": 0.01,
    "minority": 0.10,
}  # fmt: skip
BIG = {"items": 200_000, "annotators": 5_000}
SCENARIOS: dict[str, dict[str, Any]] = {
    "mixture": {**BIG, "bad": MIX},
    "inverted": {**BIG, "bad": {"inverted": 0.02}},
    "inverted_at_64": {**BIG, "bad": {"inverted": 0.02}, "agreement": 0.64},
    "inverted_golden": {"items": 20_000, "annotators": 1_000, "bad": {"inverted": 0.02}, "golden_per_annotator": 20},
    "coalition_55": {**BIG, "bad": {"inverted": 0.55}, "golden_share": 0.02},
    "honest": {**BIG, "bad": {}},
    "minority": {**BIG, "bad": {"minority": 0.10}},
    "view_topics": {
        **BIG, "bad": {"view_topics": 0.10, "random": 0.03, "inverted": 0.02, "flipper40": 0.02, "topic_inverter": 0.02}
    },
    "view_topics_golden": {
        **BIG, "bad": {"view_topics": 0.10, "knows_golden": 0.03, "inverted": 0.02, "topic_inverter": 0.02},
        "golden_per_annotator": 20,
    },
    "school": {**BIG, "bad": {"school": 0.10, "random": 0.03, "inverted": 0.02}},
    "school_golden": {**BIG, "bad": {"school": 0.10, "knows_golden": 0.03, "inverted": 0.02}, "golden_per_annotator": 20},
    **{
        name: {**BIG, "bad": {name: 0.02}}
        for name in ("random", "always_first", "always_longer", "flipper40", "overconfident", "burst_bot", "drift",
                     "reads_late", "lapse", "topic_inverter", "colluding")
    },
    "golden_known": {"items": 20_000, "annotators": 500, "bad": {"knows_golden": 0.05}, "golden_per_annotator": 20},
}  # fmt: skip


POWER_VOTES = (25, 50, 100, 200, 400)
POWER_BAD = ("inverted", "random", "always_first", "overconfident", "flipper40", "drift", "topic_inverter")


def child(folder: Path) -> None:
    """Check the votes in `folder`; one JSON line with time after imports and peak memory."""
    import pyarrow.compute  # noqa: F401

    from tasks import demographics, onboarding, params, votes  # noqa: F401
    from tasks.check_annotators import run_check_annotators

    settings = params.load(ROOT / "params.yaml").annotators
    golden = folder / "golden.csv"
    wall, cpu = time.perf_counter(), time.process_time()
    run_check_annotators(folder / "votes.parquet", golden if golden.exists() else None, folder / "out", settings)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    status = Path("/proc/self/status").read_text()  # getrusage would tell of the process that started this one
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
    print(json.dumps({"seconds": round(wall, 2), "cpu_seconds": round(cpu, 2), "peak_mb": round(peak)}))


def one(name: str, seed: int, sizes: dict[str, int], peers: bool) -> dict[str, Any]:
    """Simulate, check in a fresh process, and count."""
    from sklearn.metrics import roc_auc_score

    from benchmarks.crowds import HONEST, simulate

    crowd = simulate(**{**SCENARIOS[name], **sizes}, seed=seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        crowd.votes.write_parquet(folder / "votes.parquet")
        if crowd.golden.height:
            crowd.golden.write_csv(folder / "golden.csv")
        command = [sys.executable, str(Path(__file__)), "--child", str(folder)]
        cost = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        table = pl.read_csv(folder / "out/annotators.csv")
        others = peer_figures(crowd) if peers else {}
    behaviour = np.array([crowd.behaviour[a] for a in table["annotator_id"]])
    flag, honest = table["flag"].to_numpy(), np.isin(behaviour, HONEST)
    counts = {b: (int(flag[behaviour == b].sum()), int((behaviour == b).sum())) for b in np.unique(behaviour).tolist()}
    auroc = float(roc_auc_score(~honest, table["score"].to_numpy())) if 0 < honest.sum() < len(honest) else None
    return {"counts": counts, "false": int((flag & honest).sum()), "flagged": int(flag.sum()), "auroc": auroc,
            "votes": crowd.votes.height, "cost": cost, "peers": others}  # fmt: skip


def peer_figures(crowd: Any) -> dict[str, Any]:
    """Seconds, AUROC and recall at the oracle's threshold of 1 % false discoveries, for each peer."""
    from sklearn.metrics import roc_auc_score

    from benchmarks.crowds import HONEST
    from tasks.polls import poll
    from tasks.stats.pairwise_agreement import pairwise_agreement

    cast = poll([crowd.votes], None)
    good = np.isin([crowd.behaviour[a] for a in cast.annotators], HONEST)
    if good.all():
        return {}

    def agreement() -> np.ndarray:
        return np.nan_to_num(pairwise_agreement(cast.ballots)[0], nan=0.5)

    def crowdkit(method: str) -> np.ndarray:
        import crowdkit.aggregation as ck
        import pandas as pd

        frame = pd.DataFrame({"task": cast.ballots.item, "worker": cast.ballots.who, "label": cast.ballots.choice})
        model = getattr(ck, method)().fit(frame)
        skills = np.full(cast.ballots.n_annotators, 0.5)
        skills[model.skills_.index] = model.skills_.to_numpy()
        return skills

    figures = {}
    for name, score in (("leave-one-out agreement", agreement),
                        *((f"crowd-kit {m}", lambda m=m: crowdkit(m)) for m in ("Wawa", "OneCoinDawidSkene"))):  # fmt: skip
        start = time.perf_counter()
        try:
            skill = score()
        except ImportError:
            figures[name] = "not installed"
            continue
        seconds = time.perf_counter() - start
        order = np.argsort(skill, kind="stable")
        false = np.cumsum(good[order]) / np.arange(1, len(order) + 1)
        cut = int(np.flatnonzero(false <= 0.01).max(initial=-1)) + 1
        recall = float((~good[order[:cut]]).sum() / (~good).sum())
        figures[name] = {"seconds": round(seconds, 2), "auroc": round(float(roc_auc_score(~good, -skill)), 4),
                         "oracle_recall": round(recall, 3)}  # fmt: skip
    return figures


def power(first_seed: int, seeds: int) -> dict[str, Any]:
    """Recall by votes per annotator: a thousand annotators, two in a hundred of each kind."""
    from benchmarks.crowds import HONEST, simulate
    from tasks import params
    from tasks.annotator_findings import find
    from tasks.polls import poll
    from tasks.stats.intervals import wilson

    settings = params.load(ROOT / "params.yaml").annotators
    result: dict[str, Any] = {}
    for votes in POWER_VOTES:
        for without in ([], ["confidence"]):
            flagged: dict[str, list[bool]] = {name: [] for name in (*POWER_BAD, "honest")}
            for seed in range(first_seed, first_seed + seeds):
                crowd = simulate(items=200 * votes, annotators=1000, bad=dict.fromkeys(POWER_BAD, 0.02), seed=seed)
                cast = poll([crowd.votes.drop(without)], None)
                flags = find(cast.ballots, settings).flag
                for who, flag in zip(cast.annotators, flags.tolist(), strict=True):
                    kind = crowd.behaviour[who]
                    flagged["honest" if kind in HONEST else kind].append(flag)
            false, all_flagged = sum(flagged["honest"]), sum(map(sum, flagged.values()))
            result[f"{votes} votes{', no confidence' if without else ''}"] = {
                name: [round(sum(f) / len(f), 3), *(round(x, 3) for x in wilson(sum(f), len(f)))]
                for name, f in flagged.items()
            } | {"false_discovery_rate": [round(false / max(1, all_flagged), 4), false, all_flagged]}
    return result


def crowds_of(name: str, sizes: dict[str, int], given: argparse.Namespace) -> list[dict[str, Any]]:
    """A crowd for each seed."""

    def measure(seed: int) -> dict[str, Any]:
        print(f"{name}, seed {seed}", file=sys.stderr)
        return one(name, seed, sizes, given.peers and seed == given.first_seed)

    seeds = range(given.first_seed, given.first_seed + given.seeds)
    return kept_runs(given.results, {"scenario": name, "sizes": sizes}, seeds, measure)


def pooled(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Recall of each behaviour and false discoveries over all seeds, with 95 % Wilson intervals."""
    from tasks.stats.intervals import wilson

    def share(successes: int, n: int) -> dict[str, Any]:
        low, high = wilson(successes, n)
        return {"share": round(successes / max(1, n), 4), "low": round(low, 4), "high": round(high, 4), "n": n}

    names = sorted({b for run in runs for b in run["counts"]})
    flagged = {b: [run["counts"].get(b, (0, 0)) for run in runs] for b in names}
    aurocs = [run["auroc"] for run in runs if run["auroc"] is not None]
    return {
        "flagged": {b: share(sum(x for x, _ in c), sum(n for _, n in c)) for b, c in flagged.items()},
        "false_discoveries": share(sum(r["false"] for r in runs), sum(r["flagged"] for r in runs)),
        "false_discovery_rate_mean": round(float(np.mean([r["false"] / max(1, r["flagged"]) for r in runs])), 4),
        "false_discovery_rates": [round(r["false"] / max(1, r["flagged"]), 4) for r in runs],
        "auroc_min": round(min(aurocs), 4) if aurocs else None,
        "votes": runs[0]["votes"],
        "seconds_median": float(np.median([r["cost"]["seconds"] for r in runs])),
        "cpu_seconds_median": float(np.median([r["cost"]["cpu_seconds"] for r in runs])),
        "peak_mb_max": max(r["cost"]["peak_mb"] for r in runs),
        "peers": runs[0]["peers"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--items", type=int)
    parser.add_argument("--annotators", type=int)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--results", type=Path, help="JSON lines of the crowds, kept and continued")
    parser.add_argument("--power", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child)
        return
    if given.power:
        found = power(given.first_seed, given.seeds)
        print(json.dumps({"benchmark": "annotators, power", "simulated": True, "first_seed": given.first_seed,
                          "seeds": given.seeds, "votes": found, **described()}))  # fmt: skip
        return
    sizes = {k: v for k, v in (("items", given.items), ("annotators", given.annotators)) if v}
    result = {name: pooled(crowds_of(name, sizes, given)) for name in given.scenario}
    print(
        json.dumps(
            {
                "benchmark": "annotators",
                "simulated": True,
                "first_seed": given.first_seed,
                "seeds": given.seeds,
                "scenarios": result,
                **described(),
            }
        )
    )


if __name__ == "__main__":
    main()
