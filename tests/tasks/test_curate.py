"""Weights of pairs from votes, worked by hand."""

import polars as pl
import pytest

from tasks.curate import weigh

ANNOTATORS = pl.DataFrame(
    {
        "annotator_id": ["good", "fair", "flagged"],
        "weight": [0.9, 0.5, 0.0],
        "reliability": [0.9, 0.75, 0.2],
    }
)


def pairs(ids: list[str], **columns: list[str | None]) -> pl.DataFrame:
    frame = pl.DataFrame({"id": ids, "side": ["judge_train"] * len(ids), **columns}, strict=False)
    if "annotator_id" not in columns:
        frame = frame.with_columns(annotator_id=pl.lit(None, dtype=pl.String))
    return frame


def votes(rows: list[tuple[str, str, int]]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=["item_id", "annotator_id", "choice"], orient="row")
    return frame.with_columns(a_is_chosen=pl.lit(True))


def test_contradicted_pairs_are_set_aside_and_nobody_is_turned_round() -> None:
    cast = votes([("p", "good", 1), ("p", "fair", 1), ("q", "good", 0), ("q", "fair", 1), ("r", "flagged", 0)])
    kept, aside = weigh(pairs(["p", "q", "r"]), cast, ANNOTATORS)
    assert kept["id"].to_list() == ["p", "r"]  # r: the flagged vote does not count, so nothing is known against it
    assert [a["id"] for a in aside] == ["q"]
    assert "disputed" in aside[0]["reason"]


def test_weights_are_posteriors_scaled_to_mean_one() -> None:
    table = pairs(["p", "q"]).with_columns(side=pl.lit("reward_train"))
    cast = votes([("p", "good", 1), ("p", "fair", 1), ("q", "fair", 1)])
    kept, _ = weigh(table, cast, ANNOTATORS)
    odds = (0.9 / 0.1) * (0.75 / 0.25)
    p, q = 2 * odds / (1 + odds) - 1, 2 * 0.75 - 1
    assert kept["weight"].to_list() == pytest.approx([p / ((p + q) / 2), q / ((p + q) / 2)])


def test_rows_of_a_flagged_author_without_votes_are_set_aside() -> None:
    table = pairs(["p", "q"], annotator_id=["flagged", "good"])
    kept, aside = weigh(table, votes([("other", "good", 1)]), ANNOTATORS)
    assert kept["id"].to_list() == ["q"]
    assert aside == [{"id": "p", "reason": "its annotator is flagged"}]
