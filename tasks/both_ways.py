"""Votes as they are: a pair on which people disagree is said both ways, each as often as it was said.

What most people say of a pair is enough to learn one preference. To learn how much people differ (`tasks.rlhf.distributional`) the
minority's votes are needed, too, and no pair is set aside because they contradict the stored label.
"""

from typing import Any

import polars as pl

from tasks.rankings import RANKED

AGAINST = ":against"  # at the end of a pair's id: the row that prefers its other answer
TRAINED = ("reward_train", "judge_train")


def both_ways(
    preferences: pl.DataFrame, votes: pl.DataFrame, annotators: pl.DataFrame
) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """(rows with a column `weight`, rows set aside).

    On the training sides a pair is a row of the weight Σ trust of the votes for its `chosen`, and one of the weight of the votes for its
    other answer, `<id>:against`; what has no weight is left out. A pair without votes that count has its own annotator's trust, or 1,
    and one row. Rankings come apart into their pairs. Weights have mean 1 on each of these sides; other sides' are 1.
    """
    trust = annotators.select("annotator_id", trust="weight")
    counted = votes.drop_nulls("choice").join(trust, on="annotator_id").filter(pl.col("trust") > 0)
    agrees = (pl.col("choice") == 1) == pl.col("a_is_chosen")
    said = counted.group_by("item_id").agg(
        pl.col("trust").filter(agrees).sum().alias("for"), pl.col("trust").filter(~agrees).sum().alias("against")
    )
    rows = preferences.join(said, left_on="id", right_on="item_id", how="left", maintain_order="left")
    rows = rows.join(trust, on="annotator_id", how="left", maintain_order="left")
    training = pl.col("side").is_in(TRAINED)
    rest = rows.filter(~training).with_columns(weight=1.0)
    pairs = rows.filter(training).with_columns(pl.lit(None, kind).alias(name) for name, kind in RANKED.items())
    stored = pairs.with_columns(weight=pl.coalesce("for", "trust", 1.0))
    other = pairs.with_columns(id=pl.col("id") + AGAINST, weight=pl.col("against").fill_null(0.0))
    other = other.with_columns(chosen="rejected", rejected="chosen")
    both = pl.concat([stored, other])
    aside = stored.filter((pl.col("weight") <= 0) & pl.col("for").is_null())["id"].to_list()
    both = both.filter(pl.col("weight") > 0)
    both = both.with_columns(weight=pl.col("weight") / pl.col("weight").mean().over("side"))
    kept = pl.concat([rest, both]).drop("for", "against", "trust")
    return kept, [{"id": i, "reason": "its annotator is flagged"} for i in aside]
