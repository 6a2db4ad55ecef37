"""Votes by group of people, declared or found: what each group prefers is a question of its own about the same two answers.

A vote of somebody who is in group g counts, beside the pair's own item, on the item `<pair>:<g>`, as votes by criterion do
(`tasks.criterion_votes`). So a group's label is what its own votes say, and a minority is modelled, not outvoted.
"""

from typing import Any

import polars as pl

from governance.errors import BadInput, GateRefused
from tasks.stats.found_groups import found_groups
from tasks.training_params import OTHERS

SURE = 0.9  # probability with which somebody is of a group that was found


def group_names(people: pl.DataFrame, by: str, source: str) -> pl.DataFrame:
    """annotator_id and `group`, the value of the column `by` in small letters, digits, - and _; people of whom it is not
    said are left out. Raises BadInput where there is no such column."""
    if by not in people.columns:
        raise BadInput(
            f"{source}: has no column {by}, which stakeholders.by names (columns: {', '.join(people.columns)})."
        )
    name = pl.col(by).str.to_lowercase().str.replace_all(r"[^a-z0-9_]+", "-").str.strip_chars("-")
    named = people.select("annotator_id", group=name).filter(pl.col("group").is_not_null() & (pl.col("group") != ""))
    prefix = pl.lit(f"{by.lower()}-")  # a name begins with a letter
    return named.with_columns(
        pl.when(pl.col("group").str.contains("^[a-z]")).then("group").otherwise(prefix + pl.col("group")).alias("group")
    )


def found_names(votes: pl.DataFrame, groups: int, least: int) -> tuple[pl.DataFrame, dict[str, Any]]:
    """annotator_id and `group`, group-1 the largest, by how people vote (`tasks.stats.found_groups`), and what the report says of
    it; people of whom it is not sure are left out. Raises GateRefused where so many groups of `least` people are not found."""
    cast = votes.drop_nulls("choice").with_columns(
        agrees=(pl.col("choice") == 1) == pl.col("a_is_chosen"),
        who=pl.col("annotator_id").rank("dense") - 1,
        what=pl.col("item_id").rank("dense") - 1,
    )
    found = found_groups(cast["who"].to_numpy(), cast["what"].to_numpy(), cast["agrees"].to_numpy(), groups)
    sure = found.member.max(axis=1) >= SURE
    names = pl.Series([f"group-{k + 1}" for k in found.member.argmax(axis=1)], dtype=pl.String)
    people = pl.DataFrame({"annotator_id": cast["annotator_id"].unique().sort(), "group": names})
    named = people.filter(pl.Series(sure, dtype=pl.Boolean))
    large = int((named.group_by("group").len()["len"] >= least).sum())
    if found.gain <= 0 or large < groups:
        raise GateRefused(
            f"stakeholders.found: the votes tell {large} groups of {least} people or more apart, not {groups} (gain over one "
            f"group: {found.gain:.4f} nats a vote); lower it, or set it to 0."
        )
    return named, {"found_gain_nats_per_vote": round(found.gain, 4), "people_of_no_group": int((~sure).sum())}


def by_group(
    votes: pl.DataFrame, named: pl.DataFrame, least: int, *, pooled: bool
) -> tuple[pl.DataFrame, list[str], int]:
    """(votes on `<item>:<group>`, names of the groups, how many groups have fewer than `least` people and no item of their own).
    `pooled`: these groups are one, `others`, if together they are enough, so that what they prefer is not lost."""
    voters = named.join(votes.select("annotator_id").unique(), on="annotator_id", how="semi")
    sizes = voters.group_by("group").len()
    large = sizes.filter(pl.col("len") >= least)["group"].sort()
    hidden = sizes.height - len(large)
    if pooled:
        small = ~pl.col("group").is_in(large.implode())
        together = named.with_columns(group=pl.when(small).then(pl.lit(OTHERS)).otherwise("group"))
        own, groups, _ = by_group(votes, together, least, pooled=False)
        return own, groups, hidden
    own = votes.join(named.filter(pl.col("group").is_in(large.implode())), on="annotator_id", how="inner")
    own = own.with_columns(item_id=pl.col("item_id") + ":" + pl.col("group"))
    return own.select(votes.columns), large.to_list(), hidden


def without_parents(rows: pl.DataFrame, groups: list[str], sides: tuple[str, ...]) -> pl.DataFrame:
    """Rows of these sides without pairs that groups were asked about apart: what a pair's label says of everybody is then
    said by the groups."""
    if not groups:
        return rows
    ends = "|".join(groups)
    asked = rows.filter(pl.col("criterion").is_in(groups))["id"].str.replace(f":({ends})$", "")
    parent = pl.col("criterion").is_null() & pl.col("id").is_in(asked.implode())
    return rows.filter(~(parent & pl.col("side").is_in(sides)))
