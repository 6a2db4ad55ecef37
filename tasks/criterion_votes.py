"""Preferences by criterion that nobody wrote down as rows: votes on `<pair>:<criterion>` say which answer is better by it.

No label is stored for such a pair, so the label is what the votes say, and its weight how surely they do.
"""

import polars as pl

from tasks.criteria import NAME
from tasks.rankings import RANKED

SUFFIX = rf":({NAME.pattern})$"


def stems(items: pl.Series) -> pl.Series:
    """Items without the criterion at their end; items without one are null."""
    found = pl.col("item").str.contains(SUFFIX)
    stem = pl.when(found).then(pl.col("item").str.replace(SUFFIX, ""))
    return items.rename("item").to_frame().select(stem).to_series()


def voted_rows(rows: pl.DataFrame, by_item: pl.DataFrame) -> pl.DataFrame:
    """One row for each criterion of a pair that votes were cast on and no row is about, with the better answer as `chosen`
    and a positive `log_odds`; votes that balance give none.

    `rows`: pairs, with their column `log_odds`; `by_item`: item_id and log_odds that the pair's `chosen` is the better one.
    """
    items = by_item.filter(pl.col("log_odds") != 0).join(rows, left_on="item_id", right_on="id", how="anti")
    items = items.sort("item_id")
    items = items.with_columns(stem=stems(items["item_id"]))
    parents = rows.filter(pl.col("criterion").is_null()) if "criterion" in rows.columns else rows
    found = items.drop_nulls("stem").join(
        parents.drop("log_odds"), left_on="stem", right_on="id", how="inner", maintain_order="left"
    )
    as_stored = pl.col("log_odds") > 0
    unsaid = [name for name in ("margin", "annotator_id", "reason", "created_at", *RANKED) if name in rows.columns]
    return found.with_columns(
        pl.col("item_id").alias("id"),
        pl.col("item_id").str.extract(SUFFIX).alias("criterion"),
        pl.when(as_stored).then("chosen").otherwise("rejected").alias("chosen"),
        pl.when(as_stored).then("rejected").otherwise("chosen").alias("rejected"),
        pl.col("log_odds").abs(),
        *(pl.lit(None, dtype=rows.schema[name]).alias(name) for name in unsaid),
    ).select(name for name in rows.columns)
