"""Accuracy on golden items by group of annotators: a report, and never a reason to weigh anybody's votes.

A group of fewer than LEAST people is not shown, nor is what would let its figure be worked out from the others
(`governance.disclosure`). Votes of one person depend on each other, so the interval draws people.
"""

from typing import Any

import numpy as np
import polars as pl

from governance import disclosure
from governance.errors import BadInput
from tasks.progress import Advance, nobody
from tasks.reading import read_rows
from tasks.stats.intervals import bootstrap_mean

LEAST = disclosure.INTERNAL
MANY_NUMBERS = 10  # different numbers, from which they are put into bands of ten
RESAMPLES = 1000


def read_people(source: str, advance: Advance = nobody) -> pl.DataFrame:
    """`annotator_id` and what the vendor says of people, as text; a person counts once."""
    rows: list[dict[str, Any]] = []
    for place, raw in read_rows(source, advance):
        if raw.get("annotator_id") in (None, ""):
            raise BadInput(f"{place}: has no annotator_id (fields: {', '.join(sorted(map(str, raw)))}).")
        rows.append({name: None if value in (None, "") else str(value).strip() for name, value in raw.items()})
    people = pl.DataFrame(rows, infer_schema_length=None).cast(pl.String)
    return people.unique("annotator_id", keep="first", maintain_order=True)


def golden_accuracy_by_group(
    annotators: pl.Series, right: np.ndarray, votes: np.ndarray, people: pl.DataFrame
) -> list[dict[str, Any]]:
    """A row for each attribute and group that may be shown, and one for each attribute that tells of hidden ones.

    `right`, `votes`: (annotators,) golden votes that are right, and all; only people who have some count.
    """
    counts = pl.DataFrame({"annotator_id": annotators, "right": right, "votes": votes}).filter(pl.col("votes") > 0)
    known = counts.join(people, on="annotator_id", how="left", maintain_order="left")
    rows: list[dict[str, Any]] = []
    for attribute in people.columns:
        if attribute != "annotator_id":
            rows += _of_attribute(known.with_columns(group=_banded(known[attribute])), attribute)
    return rows


def group_sizes(annotators: pl.Series, people: pl.DataFrame) -> dict[str, dict[str, int]]:
    """People by attribute and group, of those who are in `annotators`."""
    known = annotators.unique().to_frame("annotator_id").join(people, on="annotator_id", how="left")
    return {
        attribute: dict(_banded(known[attribute]).value_counts().sort("group").iter_rows())
        for attribute in people.columns
        if attribute != "annotator_id"
    }


def _of_attribute(known: pl.DataFrame, attribute: str) -> list[dict[str, Any]]:
    sizes = known.group_by("group").len().sort("len", "group")
    hidden = disclosure.hidden(dict(sizes.iter_rows()), LEAST)
    rows: list[dict[str, Any]] = []
    for group in sizes["group"].sort().to_list():
        if group not in hidden:
            part = known.filter(pl.col("group") == group)
            right, votes = part["right"].to_numpy(), part["votes"].to_numpy()
            low, high = bootstrap_mean(right, level=0.95, resamples=RESAMPLES, seed=0, weights=votes)
            rows.append(
                {"attribute": attribute, "group": group, "annotators": part.height, "golden_votes": int(votes.sum()),
                 "accuracy": float(right.sum() / votes.sum()), "low": low, "high": high}
            )  # fmt: skip
    if hidden:
        rows.append({"attribute": attribute, "hidden_groups": len(hidden)})
    return rows


def _banded(column: pl.Series) -> pl.Series:
    numbers = column.cast(pl.Float64, strict=False)
    if numbers.null_count() == column.null_count() and numbers.n_unique() > MANY_NUMBERS:
        start = (numbers // 10 * 10).cast(pl.Int64)
        column = (start.cast(pl.String) + "–" + (start + 9).cast(pl.String)).alias("group")
    return column.fill_null("not said").alias("group")
