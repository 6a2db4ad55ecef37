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
    """(votes, number of left-out rows). Rows whose label is a list of several answers are not votes on a pair."""
    votes, left_out = open_votes(source)
    return votes.collect(), left_out


def open_votes(source: str) -> tuple[pl.LazyFrame, int]:
    """As `read_votes`; Parquet with the right column types is not read yet, so that columns can be read one by one."""
    needed = ("item_id", "annotator_id", "choice")
    if source.endswith(".parquet"):
        frame = _renamed(_scan(source), source, needed)
        empty = frame.select(
            pl.col(needed).is_null().arg_max().name.keep(), pl.col(needed).null_count().name.suffix("#")
        )
        found = empty.collect().row(0, named=True)
        for name in needed:
            if found[f"{name}#"]:
                raise BadInput(f"{source}: row {found[name] + 1}: has no {name}; fill it in or remove the row.")
        if frame.collect_schema()["choice"].is_integer():
            (binary,) = frame.select(pl.col("choice").is_between(0, 1).all()).collect().row(0)
            if binary:
                return _completed(frame, VOTES), 0
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
    return _completed(_framed(every, source).lazy(), VOTES), left_out


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


def _scan(source: str) -> pl.LazyFrame:
    try:
        frame = pl.scan_parquet(source)
        if frame.select(pl.len()).collect().item() == 0:
            raise BadInput(f"{source}: has no rows; it must hold at least one.")
    except FileNotFoundError:
        raise BadInput(f"{source}: there is no such file; correct the path.") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadInput(f"{source}: cannot be read as Parquet: {str(error).splitlines()[0]}.") from None
    return frame


def _renamed(frame: pl.LazyFrame, source: str, needed: tuple[str, ...]) -> pl.LazyFrame:
    names = frame.collect_schema().names()
    frame = frame.rename({k: v for k, v in ALIASES.items() if k in names and v not in names})
    names = frame.collect_schema().names()
    for name in needed:
        if name not in names:
            raise BadInput(f"{source}: has no column {name} (columns: {', '.join(names)}).")
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
    return _completed(frame.lazy(), schema).collect()


def _completed(frame: pl.LazyFrame, schema: Schema) -> pl.LazyFrame:
    defaults = {"simulated": False, "a_is_chosen": True}
    names = frame.collect_schema().names()
    columns = [
        (pl.col(name) if name in names else pl.lit(defaults.get(name))).cast(kind).alias(name)
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
