"""Whether the next run finds the bad raters of a simulated panel (`rounds.panel`), and what is left of its labels. One JSON line a panel.

    python -m benchmarks.round_panels [--seeds 20] [--pairs 64]

Every seed draws labels of a round by the panel (SIMULATED), and the project's own code reads them: votes, the check of annotators with
the shipped settings, weights. `alone`: nobody else votes; `beside`: with the shipped simulated panel on 600 HH-RLHF pairs. A rater below
.6 is bad. `flagged_bad` and `flagged_good` are shares of raters over the seeds, `wrong_of_most` of pairs of which most raters said the
wrong answer, `wrong_of_kept` of the weight of the pairs that are left, `kept` of pairs; the first two with 95 % Wilson intervals.
"""

import argparse
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from governance.digest import write_jsonl
from tasks import params
from tasks.check_annotators import check_annotators
from tasks.curate import weigh
from tasks.formats import read_preferences
from tasks.panel import simulate
from tasks.round_votes import read_round
from tasks.rounds import Pair, panel, panel_labels, questions
from tasks.stats.intervals import wilson

ROOT = Path(__file__).resolve().parents[1]
PANELS = (
    (0.84,) * 5,
    (0.84, 0.84, 0.84, 0.84, 0.16),
    (0.84, 0.84, 0.84, 0.84, 0.5),
    (0.84, 0.84, 0.84, 0.5, 0.16),
    (0.9, 0.9, 0.1),
    (0.84, 0.84, 0.84),
)
CROWD = 600  # pairs that others vote on
BAD = 0.6


def main() -> None:
    """Measure every panel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=64)
    asked = parser.parse_args()
    shipped = params.load(ROOT / "params.yaml")
    hh = read_preferences(str(ROOT / shipped.ingest.preferences)).head(CROWD)
    for shares in PANELS:
        rounds = shipped.rounds.model_copy(update={"panel": shares})
        for beside in (False, True):
            found = []
            for seed in range(asked.seeds):
                settings = shipped.model_copy(update={"seed": seed, "rounds": rounds})
                found.append(_one(settings, asked.pairs, hh if beside else None))
            where = "beside" if beside else "alone"
            print(json.dumps({"panel": shares, "votes": where, "pairs": asked.pairs} | _pooled(found)), flush=True)


def _one(settings: params.Params, n: int, others: pl.DataFrame | None) -> dict[str, Any]:
    """One round of n pairs, of which either answer may be the better one."""
    first = random.Random(settings.seed).choices([0.0, 1.0], k=n)
    asked = [
        Pair(
            [{"role": "user", "content": f"{k}?"}],
            ["good", "poor"] if better else ["poor", "good"],
            [0.0, 0.0],
            True,
        )
        for k, better in enumerate(first)
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "round-1.jsonl"
        write_jsonl(file, panel_labels(questions(asked, 1), first, settings, 1))
        pairs, votes, _ = read_round(str(file), b"", frozenset(), lambda _: None)
    assert settings.ingest.panel is not None
    if others is not None:
        votes = pl.concat([votes, simulate(others, settings.ingest.panel, settings.seed)[0]])
    judged = check_annotators(votes, None, settings.annotators).table
    flags = dict(judged.select("annotator_id", "flag").iter_rows())
    kept, _ = weigh(pairs.with_columns(side=pl.lit("reward_train")), votes, judged)
    wrong = kept["chosen"].list.first().struct.field("content") == "poor"
    said = pairs["chosen"].list.first().struct.field("content") == "poor"
    return {
        "bad": [flags[name] for name, share in panel(settings).items() if share < BAD],
        "good": [flags[name] for name, share in panel(settings).items() if share >= BAD],
        "wrong_of_most": said.mean(),
        "wrong_of_kept": float(kept["weight"].filter(wrong).sum()) / max(float(kept["weight"].sum()), 1e-9),
        "kept": kept.height / n,
    }


def _pooled(found: list[dict[str, Any]]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for name in ("bad", "good"):
        flags = [flag for one in found for flag in one[name]]
        if flags:
            low, high = wilson(sum(flags), len(flags))
            said[f"flagged_{name}"] = [round(x, 3) for x in (sum(flags) / len(flags), low, high)]
    for name in ("wrong_of_most", "wrong_of_kept", "kept"):
        said[name] = round(sum(one[name] for one in found) / len(found), 3)
    return said


if __name__ == "__main__":
    main()
