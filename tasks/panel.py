"""The simulated panel: annotators who vote on pairs that carry no annotator identities. Simulated, and marked so.

Honest annotators agree with the stored label with a probability of their own around `accuracy`; inverted ones disagree
as often; random ones guess. Everything about an item's votes follows from the seed and the item's id, so that changing
one pair changes its own votes only.
"""

import hashlib
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from tasks.params import Panel

SPREAD = 0.06  # standard deviation of honest annotators' accuracies
START = datetime(2026, 1, 5, 8, tzinfo=UTC)


def behaviours(panel: Panel, seed: int) -> list[tuple[str, str, float]]:
    """(annotator id, behaviour, probability of agreeing with the stored label) of everyone on the panel."""
    rng = np.random.default_rng([seed, 1])
    n = panel.annotators
    bad = ["inverted"] * round(panel.inverted * n) + ["random"] * round(panel.random * n)
    kinds = np.array(bad + ["honest"] * (n - len(bad)))[rng.permutation(n)]
    skill = np.clip(rng.normal(panel.accuracy, SPREAD, n), 0.55, 0.98)
    agree = {"honest": skill, "inverted": 1 - skill, "random": np.full(n, 0.5)}
    return [(f"sim-{k + 1:03d}", str(kinds[k]), float(agree[str(kinds[k])][k])) for k in range(n)]


def simulate(preferences: pl.DataFrame, panel: Panel, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(votes, golden) on every row of `preferences` (columns id, chosen, rejected); see `tasks.formats` for columns."""
    people = behaviours(panel, seed)
    votes: list[dict[str, object]] = []
    golden: list[dict[str, object]] = []
    columns = [preferences[c].to_list() for c in ("id", "chosen", "rejected")]
    for item, chosen, rejected in zip(*columns, strict=True):
        rng = np.random.default_rng(list(hashlib.sha256(f"{seed}:{item}".encode()).digest()[:16]))
        a_is_chosen = bool(rng.integers(2))
        lengths = [sum(len(m["content"]) for m in side) for side in (chosen, rejected)]
        len_a, len_b = lengths if a_is_chosen else reversed(lengths)
        for who in rng.choice(len(people), size=min(panel.votes_per_item, len(people)), replace=False):
            name, _, agreement = people[int(who)]
            agrees = bool(rng.random() < agreement)
            votes.append(
                {
                    "item_id": item,
                    "annotator_id": name,
                    "choice": int(agrees == a_is_chosen),
                    "a_first": bool(rng.integers(2)),
                    "len_a": len_a,
                    "len_b": len_b,
                    "topic": None,
                    "created_at": f"{START + timedelta(seconds=int(rng.integers(30 * 86400))):%Y-%m-%dT%H:%M:%SZ}",
                    "confidence": round(float(rng.uniform(0.5, 1)), 3),
                    "a_is_chosen": a_is_chosen,
                    "simulated": True,
                }
            )
        if rng.random() < panel.golden_share:
            golden.append({"item_id": item, "gold_choice": int(a_is_chosen), "simulated": True})
    return pl.DataFrame(votes), pl.DataFrame(golden)
