"""Votes of several annotators on items, and golden items, from vendors' files into the project's tables."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from governance.errors import BadInput
from tasks.reading import Row, read_rows
from tasks.stats.ballots import UNKNOWN, Ballots
from tasks.tables import Schema

VOTES: Schema = {
    "item_id": pl.String,
    "annotator_id": pl.String,
    "choice": pl.Int8,
    "a_first": pl.Boolean,
    "len_a": pl.Int64,
    "len_b": pl.Int64,
    "topic": pl.String,
    "created_at": pl.String,
    "confidence": pl.Float64,
    "a_is_chosen": pl.Boolean,
    "simulated": pl.Boolean,
}
GOLDEN: Schema = {"item_id": pl.String, "gold_choice": pl.Int8, "simulated": pl.Boolean}
ALIASES = {"label": "choice", "gold": "gold_choice", "submitted_at": "created_at", "worker_id": "annotator_id"}
TIMES = ("%Y-%m-%dT%H:%M:%SZ", "%+", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f")
YES_NO = {"1": 1, "0": 0, "1.0": 1, "0.0": 0, "yes": 1, "no": 0, "true": 1, "false": 0, "a": 1, "b": 0}


def read_votes(source: str) -> tuple[pl.DataFrame, int]:
    """(votes, number of left-out rows). Rows whose label is a list of several answers are not votes on a pair.

    Parquet with the right column types is taken as it is, without a loop over rows.
    """
    if source.endswith(".parquet"):
        frame = _renamed(pl.read_parquet(source), source, ("item_id", "annotator_id", "choice"))
        for name in ("item_id", "annotator_id", "choice"):
            if frame[name].null_count():
                first = int(frame[name].is_null().arg_max() or 0) + 1
                raise BadInput(f"{source}: row {first}: has no {name}; fill it in or remove the row.")
        if frame.schema["choice"].is_integer() and frame["choice"].is_between(0, 1).all():
            return complete(frame.with_columns(pl.col("item_id", "annotator_id").cast(pl.String)), VOTES), 0
        del frame
    rows: list[Row] = []
    left_out = 0
    for place, raw in read_rows(source):
        row = _named(raw, place, ("item_id", "annotator_id", "choice"))
        if str(row["choice"]).startswith("["):
            left_out += 1
            continue
        row["choice"] = _binary(row["choice"], "choice", place)
        for name in ("a_first", "a_is_chosen"):
            if row.get(name) is not None:
                row[name] = bool(_binary(row[name], name, place))
        if row.get("task"):  # one vendor file, several tasks: the same item is asked about more than once
            row["item_id"], row["topic"] = f"{row['task']}:{row['item_id']}", row.get("topic") or row["task"]
        rows.append({k: v for k, v in row.items() if k in VOTES})
    if not rows:
        raise BadInput(f"{source}: has no votes with a choice between two; expected 0 or 1 in choice.")
    every = {name: [row.get(name) for row in rows] for name in VOTES if any(name in row for row in rows)}
    return complete(_framed(every, source), VOTES), left_out


def read_golden(source: str) -> pl.DataFrame:
    """Golden items."""
    rows = []
    for place, raw in read_rows(source):
        row = _named(raw, place, ("item_id", "gold_choice"))
        row["gold_choice"] = _binary(row["gold_choice"], "gold_choice", place)
        rows.append({"item_id": str(row["item_id"]), "gold_choice": row["gold_choice"]})
    return complete(pl.DataFrame(rows), GOLDEN)


def empty_votes() -> pl.DataFrame:
    """A table without votes."""
    return pl.DataFrame(schema=VOTES)


def empty_golden() -> pl.DataFrame:
    """A table without golden items."""
    return pl.DataFrame(schema=GOLDEN)


def _named(raw: Row, place: str, needed: tuple[str, ...]) -> Row:
    row = {(ALIASES.get(k, k) if ALIASES.get(k) not in raw else k): v for k, v in raw.items()}
    for name in needed:
        if row.get(name) in (None, ""):
            raise BadInput(
                f"{place}: has no {name} (fields: {', '.join(sorted(raw))}); votes need {', '.join(needed)}."
            )
    return row


def _renamed(frame: pl.DataFrame, source: str, needed: tuple[str, ...]) -> pl.DataFrame:
    frame = frame.rename({k: v for k, v in ALIASES.items() if k in frame.columns and v not in frame.columns})
    for name in needed:
        if name not in frame.columns:
            raise BadInput(f"{source}: has no column {name} (columns: {', '.join(frame.columns)}).")
    if frame.height == 0:
        raise BadInput(f"{source}: has no rows; it must hold at least one.")
    return frame


def _binary(value: object, name: str, place: str) -> int:
    text = str(value).strip().lower()
    if text not in YES_NO:
        raise BadInput(f"{place}: field {name}: {value!r} is not 0 or 1.")
    return YES_NO[text]


def _framed(columns: dict[str, list[object]], source: str) -> pl.DataFrame:
    series = []
    for name, values in columns.items():
        text = pl.Series(name, [None if v in (None, "") else str(v) for v in values], dtype=pl.String)
        try:
            kind = VOTES[name]
            series.append(text if kind == pl.String else pl.Series(name, values).cast(kind))
        except (pl.exceptions.PolarsError, TypeError):
            raise BadInput(f"{source}: column {name}: holds values that are not of its kind ({VOTES[name]}).") from None
    return pl.DataFrame(series)


def complete(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """All columns of the table, in order; what the vendor did not give is null, `simulated` false."""
    defaults = {"simulated": False, "a_is_chosen": True}
    columns = [
        (pl.col(name) if name in frame.columns else pl.lit(defaults.get(name))).cast(kind).alias(name)
        for name, kind in schema.items()
    ]
    return frame.select(columns)


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


def poll(votes: pl.DataFrame, golden: pl.DataFrame | None) -> Poll:
    """Codes for names, sorted by item and annotator; the first vote of an annotator on an item counts."""
    who, annotators = _codes(votes["annotator_id"])
    item, items = _codes(votes["item_id"])
    choice = votes["choice"].to_numpy().astype(np.int8)
    key = item.astype(np.int64) * max(1, len(annotators)) + who
    order = np.argsort(key, kind="stable").astype(np.int32)
    key = key[order]
    again = np.r_[False, key[1:] == key[:-1]] if len(key) else np.zeros(0, dtype=bool)
    contradicted = int((choice[order][1:] != choice[order][:-1])[again[1:]].sum()) if len(key) else 0
    order = order[~again]
    topic, topics = _codes(votes["topic"]) if _given(votes, "topic") else (None, pl.Series([], dtype=pl.String))
    time, undated = _seconds(votes["created_at"]) if _given(votes, "created_at") else (None, 0)
    columns = {
        "first": _flags(votes["a_first"]) if _given(votes, "a_first") else None,
        "longer": _longer(votes) if _given(votes, "len_a") and _given(votes, "len_b") else None,
        "topic": topic,
        "time": time,
        "confidence": votes["confidence"].cast(pl.Float32).to_numpy() if _given(votes, "confidence") else None,
    }
    sorted_columns = {name: None if v is None else v[order] for name, v in columns.items()}
    known = _known(items, golden)
    ballots = Ballots(who[order], item[order], choice[order], known, len(annotators), **sorted_columns)
    return Poll(ballots, annotators.to_list(), items, topics.to_list(), int(again.sum()), contradicted, undated)


def _given(votes: pl.DataFrame, name: str) -> bool:
    return name in votes.columns and votes[name].null_count() < votes.height


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
