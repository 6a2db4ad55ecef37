"""K-way rankings in the table of pairs: K answers to one prompt are K(K−1)/2 rows that share `ranking_id`.

Checks, votes and weights are about pairs, and so the table holds pairs; `chosen_rank` and `rejected_rank` (0 is the
best) say where both stand, so that the reward model gets the ranking whole.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import polars as pl

from governance.errors import BadInput

RANKED: dict[str, type[pl.DataType]] = {"ranking_id": pl.String, "chosen_rank": pl.Int64, "rejected_rank": pl.Int64}
LOST = "its ranking lost pairs, and with them this one's answer"
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Ranking:
    """Answers to one prompt, best first; `weights` and `margins` of its pairs in the order of `combinations`. A pair is
    a ranking of two."""

    prompt: Messages
    answers: list[Messages]
    weights: list[float]
    margins: list[float]
    criterion: str | None = None


def complete(rows: pl.DataFrame) -> tuple[pl.DataFrame, list[dict[str, str]]]:
    """(rows of which every ranking has each pair of its answers, rows set aside).

    From a ranking that lost pairs those answers leave that fewest pairs are left of. The rest is a ranking still: which
    of two answers is chosen does not depend on the others (Luce 1959, the axiom behind Plackett–Luce).
    """
    if "ranking_id" not in rows.columns:
        return rows, []
    numbered = rows.with_row_index("row")
    ranks = pl.concat([pl.col("chosen_rank"), pl.col("rejected_rank")]).n_unique().alias("answers")
    sizes = numbered.drop_nulls("ranking_id").group_by("ranking_id").agg(pl.len().alias("pairs"), ranks)
    broken = sizes.filter(pl.col("pairs") != pl.col("answers") * (pl.col("answers") - 1) // 2)
    out: list[int] = []
    for (_,), pairs in numbered.join(broken, on="ranking_id", how="semi").group_by("ranking_id", maintain_order=True):
        by_ranks = dict(zip(zip(pairs["chosen_rank"], pairs["rejected_rank"], strict=True), pairs["row"], strict=True))
        left = _left(by_ranks)
        out += [row for (i, j), row in by_ranks.items() if not (i in left and j in left)]
    gone = pl.Series(sorted(out), dtype=pl.UInt32).implode()
    aside = numbered.filter(pl.col("row").is_in(gone))["id"].to_list()
    kept = numbered.filter(~pl.col("row").is_in(gone)).drop("row")
    return kept, [{"id": name, "reason": LOST} for name in aside]


def _left(pairs: Mapping[tuple[int, int], Any]) -> set[int]:
    """Answers of which every pair is there, after those with fewest pairs have left one by one (the worst first)."""
    answers = {rank for pair in pairs for rank in pair}
    while True:
        found = Counter(rank for pair in pairs if answers.issuperset(pair) for rank in pair)
        if all(found[rank] == len(answers) - 1 for rank in answers):
            return answers
        answers.remove(min(answers, key=lambda rank: (found[rank], -rank)))


def rankings_of(rows: pl.DataFrame, where: str) -> list[Ranking]:
    """Rankings in the order of their first pairs. Raises BadInput, which names the table `where`, if one lacks pairs."""
    groups: dict[str | int, list[dict[str, Any]]] = {}
    for number, row in enumerate(rows.iter_rows(named=True)):
        groups.setdefault(row.get("ranking_id") or number, []).append(row)
    return [_ranking(name, pairs, where) for name, pairs in groups.items()]


def _ranking(name: str | int, pairs: list[dict[str, Any]], where: str) -> Ranking:
    if isinstance(name, int):  # a pair of no ranking
        by_ranks = {(0, 1): pairs[0]}
    else:
        by_ranks = {(row["chosen_rank"], row["rejected_rank"]): row for row in pairs}
    ranks = sorted({rank for pair in by_ranks for rank in pair})
    order = list(combinations(ranks, 2))
    if len(pairs) != len(order) or set(by_ranks) != set(order):
        raise BadInput(f"{where}: the ranking {name} lacks pairs of its answers; run again from curate.")
    best = by_ranks[order[0]]
    answers = [best["chosen"], *(by_ranks[ranks[0], rank]["rejected"] for rank in ranks[1:])]
    every = [by_ranks[pair] for pair in order]
    weights, margins = ([float(row[key] or 0.0) for row in every] for key in ("weight", "margin"))
    return Ranking(best["prompt"], answers, weights, margins, best.get("criterion"))
