"""The simulated panel: annotators who vote on pairs that carry no annotator identities. Simulated, and marked so.

Honest annotators agree with the stored label with a probability of their own around `accuracy`; inverted ones disagree
as often; random ones guess. Everything about an item's votes follows from the seed and the item's id, so that changing
one pair changes its own votes only.
"""

import hashlib
from datetime import UTC, datetime

import numpy as np
import polars as pl

from tasks.params import Panel
from tasks.votes import GOLDEN, VOTES

SPREAD = 0.06  # standard deviation of honest annotators' accuracies
START = datetime(2026, 1, 5, 8, tzinfo=UTC)
MONTH = 30 * 86400  # seconds
CONTENT = pl.element().struct.field("content")


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
    """(votes, golden) on every row of `preferences` (columns id, chosen, rejected); see `tasks.votes` for columns."""
    people = behaviours(panel, seed)
    names = [name for name, _, _ in people]
    agreement = [probability for _, _, probability in people]
    n, each = len(people), min(panel.votes_per_item, len(people))
    cast: list[tuple[object, ...]] = []
    golden: list[tuple[str, int, bool]] = []
    lengths = (preferences[side].list.eval(CONTENT.str.len_chars()).list.sum() for side in ("chosen", "rejected"))
    for item, chosen, rejected in zip(preferences["id"].to_list(), *lengths, strict=True):
        rng = _generator(f"{seed}:{item}")
        integers, random = rng.integers, rng.random
        a_is_chosen = bool(integers(2))
        len_a, len_b = (chosen, rejected) if a_is_chosen else (rejected, chosen)
        for who in rng.choice(n, size=each, replace=False).tolist():
            choice = int((random() < agreement[who]) == a_is_chosen)
            a_first, after, confidence = bool(integers(2)), int(integers(MONTH)), 0.5 + 0.5 * random()
            cast.append((item, names[who], choice, a_first, len_a, len_b, after, confidence, a_is_chosen))
        if random() < panel.golden_share:
            golden.append((item, int(a_is_chosen), True))
    return _votes(cast), pl.DataFrame(golden, schema=GOLDEN, orient="row")


def _generator(text: str) -> np.random.Generator:
    """A generator that follows from the text; as `default_rng` of the digest's first 16 bytes, in a third of its time."""
    digest = np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], dtype=np.uint8)
    return np.random.Generator(np.random.PCG64(digest.astype(np.uint32)))


def _votes(cast: list[tuple[object, ...]]) -> pl.DataFrame:
    names = ("item_id", "annotator_id", "choice", "a_first", "len_a", "len_b", "after", "confidence", "a_is_chosen")
    columns: list[tuple[object, ...]] = list(zip(*cast, strict=True)) or [()] * len(names)
    table = [pl.Series(n, values, dtype=VOTES.get(n, pl.Int64)) for n, values in zip(names, columns, strict=True)]
    at = pl.lit(START.replace(tzinfo=None)) + pl.duration(seconds="after")
    return pl.DataFrame(table).select(
        pl.col("item_id", "annotator_id", "choice", "a_first", "len_a", "len_b"),
        pl.lit(None, dtype=pl.String).alias("topic"),
        at.dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias("created_at"),
        pl.col("confidence").round(3),
        "a_is_chosen",
        pl.lit(True).alias("simulated"),
    )
