"""Votes as arrays: codes for names, one vote of an annotator on an item, in the order that the statistics want."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from tasks.stats.ballots import UNKNOWN, Ballots

TIMES = ("%Y-%m-%dT%H:%M:%SZ", "%+", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f")


@dataclass(frozen=True)
class Poll:
    """Votes as arrays, with the names behind their codes; `repeated`: votes left out because the annotator had voted on
    the item before, `contradicted`: those of them that say otherwise; `undated`: times that cannot be read."""

    ballots: Ballots
    annotators: list[str]
    items: pl.Series
    topics: list[str]
    repeated: int
    contradicted: int
    undated: int


def poll(votes: pl.LazyFrame, golden: pl.DataFrame | None) -> Poll:
    """Codes for names, sorted by item and annotator; the first vote of an annotator on an item counts.

    Columns are collected one at a time: as text, a million votes would take more memory than all that is done to them.
    """
    names = votes.collect_schema().names()

    def given(*wanted: str) -> pl.DataFrame | None:
        if any(name not in names for name in wanted):
            return None
        frame = votes.select(wanted).collect()
        return None if any(frame[name].null_count() == frame.height for name in wanted) else frame

    who, annotators = _codes(votes.select("annotator_id").collect()["annotator_id"])
    item, items = _codes(votes.select("item_id").collect()["item_id"])
    choice = votes.select(pl.col("choice").cast(pl.Int8)).collect()["choice"].to_numpy()
    key = item.astype(np.int64) * max(1, len(annotators)) + who
    order = np.argsort(key, kind="stable").astype(np.int32)
    key = key[order]
    again = np.diff(key, prepend=-1) == 0
    contradicted = int((np.diff(choice[order], prepend=choice[order][:1]) != 0)[again].sum())
    order = order[~again]
    columns: dict[str, np.ndarray | None] = {}
    topics, undated = pl.Series([], dtype=pl.String), 0
    if (frame := given("topic")) is not None:
        columns["topic"], topics = _codes(frame["topic"].cast(pl.String))
    if (frame := given("created_at")) is not None:
        columns["time"], undated = _seconds(frame["created_at"])
    if (frame := given("a_first")) is not None:
        columns["first"] = _flags(frame["a_first"])
    if (frame := given("len_a", "len_b")) is not None:
        columns["longer"] = _longer(frame)
    if (frame := given("confidence")) is not None:
        columns["confidence"] = frame["confidence"].cast(pl.Float32).to_numpy()
    in_order = {name: v[order] for name, v in columns.items() if v is not None}
    ballots = Ballots(who[order], item[order], choice[order], _known(items, golden), len(annotators), **in_order)
    return Poll(ballots, annotators.to_list(), items, topics.to_list(), int(again.sum()), contradicted, undated)


def _codes(column: pl.Series) -> tuple[np.ndarray, pl.Series]:
    """(int32 codes by first appearance, −1 for null; the values)."""
    values = column.drop_nulls().unique(maintain_order=True)
    table = pl.DataFrame({column.name: values, "code": np.arange(len(values), dtype=np.int32)})
    found = column.to_frame().join(table, on=column.name, how="left", maintain_order="left")["code"]
    return found.fill_null(UNKNOWN).to_numpy(), values


def _flags(column: pl.Series) -> np.ndarray:
    return column.cast(pl.Int8).fill_null(UNKNOWN).to_numpy()


def _longer(votes: pl.DataFrame) -> np.ndarray:
    """1 where a is longer, 0 where b is, −1 where they are equal or unknown."""
    longer = pl.when(pl.col("len_a") != pl.col("len_b")).then(pl.col("len_a") > pl.col("len_b")).otherwise(None)
    return _flags(votes.select(longer.alias("longer"))["longer"])


def _seconds(column: pl.Series) -> tuple[np.ndarray, int]:
    """((votes,) seconds since 1970, −1 unknown; number of times that cannot be read)."""
    parsed = column.str.to_datetime(TIMES[0], strict=False).dt.epoch("s")
    for form in TIMES[1:]:
        if parsed.null_count() == column.null_count():
            break
        missing = parsed.is_null() & column.is_not_null()
        rest = column.filter(missing).str.to_datetime(form, strict=False)
        parsed = parsed.scatter(missing.arg_true(), rest.dt.epoch("s"))
    return parsed.fill_null(UNKNOWN).to_numpy(), parsed.null_count() - column.null_count()


def _known(items: pl.Series, golden: pl.DataFrame | None) -> np.ndarray:
    if golden is None or golden.height == 0:
        return np.full(len(items), UNKNOWN, dtype=np.int8)
    answers = golden.select("item_id", "gold_choice").unique("item_id", keep="first")
    found = items.rename("item_id").to_frame().join(answers, on="item_id", how="left", maintain_order="left")
    return found["gold_choice"].cast(pl.Int8).fill_null(UNKNOWN).to_numpy()
