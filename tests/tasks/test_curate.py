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


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def test_votes_by_criterion_give_rows_with_the_better_answer_chosen() -> None:
    """By hand: good (.9) and fair (.75) say that the rejected answer is more honest; on accuracy they balance; honesty of q
    has a row of its own already, and nobody knows the pair `gone`."""
    table = pairs(["p", "q", "q:honesty"]).with_columns(
        side=pl.lit("reward_train"),
        criterion=pl.Series([None, None, "honesty"], dtype=pl.String),
        margin=pl.Series([0.5, None, None], dtype=pl.Float64),
        ranking_id=pl.Series(["r", None, None], dtype=pl.String),
        chosen_rank=pl.Series([0, None, None], dtype=pl.Int64),
        rejected_rank=pl.Series([1, None, None], dtype=pl.Int64),
        chosen=pl.Series([said(f"chosen {k}") for k in "pqq"]),
        rejected=pl.Series([said(f"rejected {k}") for k in "pqq"]),
    )
    cast = [("p", "good", 1), ("p:honesty", "good", 0), ("p:honesty", "fair", 0), ("p:honesty", "flagged", 1)]
    cast += [
        ("p:accuracy", "good", 1),
        ("p:accuracy", "even", 0),
        ("q:honesty", "good", 1),
        ("gone:honesty", "good", 1),
    ]
    people = pl.concat([ANNOTATORS, ANNOTATORS.head(1).with_columns(annotator_id=pl.lit("even"))])
    kept, aside = weigh(table, votes(cast), people)
    assert not aside
    assert kept["id"].to_list() == ["p", "q", "q:honesty", "p:honesty"]
    row = kept.row(3, named=True)
    assert (row["criterion"], row["chosen"], row["rejected"]) == ("honesty", said("rejected p"), said("chosen p"))
    assert row["margin"] is row["ranking_id"] is row["chosen_rank"] is None
    assert row["side"] == "reward_train"
    odds = (0.9 / 0.1) * (0.75 / 0.25)
    by_hand = [0.8, 1.0, 0.8, 2 * odds / (1 + odds) - 1]  # q has no votes of its own
    assert kept["weight"].to_list() == pytest.approx([w / (sum(by_hand) / 4) for w in by_hand])
