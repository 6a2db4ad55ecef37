"""The simulated panel: annotators who vote on pairs that carry no annotator identities. Simulated, and marked so.

Honest annotators agree with the stored label with a probability of their own around `accuracy`; inverted ones disagree
as often; random ones guess. Everything about an item's votes follows from the seed and the item's id, so that changing
one pair changes its own votes only.
"""

import hashlib
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.params import Panel
from tasks.votes import VOTES

SPREAD = 0.06  # standard deviation of honest annotators' accuracies
START = datetime(2026, 1, 5, 8, tzinfo=UTC)
MONTH = 30 * 86400  # seconds
NOT_SAID = ("undecided", "format_a", "format_b", "confirms_a", "confirms_b")  # by the simulated
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
    agreement = [probability for _, _, probability in people]
    n, each = len(people), min(panel.votes_per_item, len(people))
    items: list[tuple[bool, bool]] = []  # a is the chosen one, the item is golden
    cast: list[tuple[int, int, int, int, float]] = []  # annotator, choice, a first, seconds, confidence
    for item in preferences["id"].to_list():
        rng = _generator(f"{seed}:{item}")
        integers, random = rng.integers, rng.random
        a_is_chosen = bool(integers(2))
        for who in rng.choice(n, size=each, replace=False).tolist():
            choice = (random() < agreement[who]) == a_is_chosen
            cast.append((who, choice, int(integers(2)), int(integers(MONTH)), 0.5 + 0.5 * random()))
        items.append((a_is_chosen, random() < panel.golden_share))
    chosen_first, is_golden = (pl.Series(column) for column in np.array(items, dtype=bool).reshape(-1, 2).T)
    golden = preferences.select(
        pl.col("id").alias("item_id"), chosen_first.cast(pl.Int8).alias("gold_choice"), simulated=pl.lit(True)
    ).filter(is_golden)
    names = pl.Series([name for name, _, _ in people], dtype=pl.String)
    return _votes(preferences, chosen_first, names, np.array(cast, dtype=np.float64).reshape(-1, 5)), golden


def _votes(
    preferences: pl.DataFrame, a_is_chosen: pl.Series, names: pl.Series, cast: NDArray[np.float64]
) -> pl.DataFrame:
    """The table of votes; `cast` [votes, 5]: annotator, choice, a first, seconds since START, confidence."""
    length = {c: pl.col(c).list.eval(CONTENT.str.len_chars()).list.sum() for c in ("chosen", "rejected")}
    items = preferences.select("id", **length).with_columns(a_is_chosen=a_is_chosen)
    each = len(cast) // max(len(items), 1)
    of = items[np.repeat(np.arange(len(items)), each)]
    seconds = pl.duration(seconds=pl.lit(pl.Series(cast[:, 3].astype(np.int64))))
    a = pl.col("a_is_chosen")
    return of.select(
        pl.col("id").alias("item_id"),
        names[cast[:, 0].astype(np.int64)].alias("annotator_id"),
        pl.Series("choice", cast[:, 1].astype(np.int8)),
        pl.Series("a_first", cast[:, 2].astype(bool)),
        pl.when(a).then("chosen").otherwise("rejected").cast(pl.Int64).alias("len_a"),
        pl.when(a).then("rejected").otherwise("chosen").cast(pl.Int64).alias("len_b"),
        pl.lit(None, dtype=pl.String).alias("topic"),
        (pl.lit(START.replace(tzinfo=None)) + seconds).dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias("created_at"),
        pl.Series("confidence", cast[:, 4]).round(3),
        "a_is_chosen",
        pl.lit(True).alias("simulated"),
        *(pl.lit(None, dtype=VOTES[name]).alias(name) for name in NOT_SAID),
    )


def _generator(text: str) -> np.random.Generator:
    """A generator that follows from the text; as `default_rng` of the digest's first 16 bytes, in a third of its time."""
    digest = np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], dtype=np.uint8)
    return np.random.Generator(np.random.PCG64(digest.astype(np.uint32)))
