"""Votes of several annotators on items, and golden items, from vendors' files into the project's tables."""

import polars as pl

from governance.errors import BadInput
from tasks.reading import Row, read_rows
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
YES_NO = {"1": 1, "0": 0, "1.0": 1, "0.0": 0, "yes": 1, "no": 0, "true": 1, "false": 0, "a": 1, "b": 0}


def read_votes(source: str) -> tuple[pl.DataFrame, int]:
    """(votes, number of left-out rows). Rows whose label is a list of several answers are not votes on a pair.

    Parquet with the right column types is taken as it is, without a loop over rows.
    """
    if source.endswith(".parquet"):
        frame = _renamed(pl.read_parquet(source), source, ("item_id", "annotator_id", "choice"))
        if frame.schema["choice"].is_integer() and frame["choice"].is_between(0, 1).all():
            return complete(frame.with_columns(pl.col("item_id", "annotator_id").cast(pl.String)), VOTES), 0
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


def refuse_unjudgeable(votes: pl.DataFrame, golden: pl.DataFrame | None, source: str, golden_source: str) -> None:
    """Raises BadInput where nothing can be compared: all votes by one annotator, or no golden item among them."""
    if votes["annotator_id"].n_unique() == 1:
        raise BadInput(
            f"{source}: all {votes.height} votes are by one annotator, so there is nobody to compare with; "
            "give the votes of at least two."
        )
    if golden is not None and golden.height and not golden["item_id"].is_in(votes["item_id"].implode()).any():
        raise BadInput(
            f"{golden_source}: none of its {golden.height} golden items is among the items of the votes in {source}; "
            "give both files the same item_id."
        )


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
