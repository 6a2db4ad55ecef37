"""Rankings, ratings and criteria as votes: who said what is kept, and so are ties and "can't say"."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from governance.errors import BadInput
from tasks.polls import poll
from tasks.votes import read_votes


def read(tmp_path: Path, *rows: dict[str, Any]) -> pl.DataFrame:
    file = tmp_path / "votes.jsonl"
    file.write_text("\n".join(json.dumps({"annotator_id": f"a{k % 2}"} | row) for k, row in enumerate(rows)) + "\n")
    return read_votes(str(file))[0]


def said(votes: pl.DataFrame) -> dict[tuple[str, str], int | str]:
    rows = votes.select("item_id", "annotator_id", "choice", "undecided").iter_rows()
    return {(item, who): undecided if choice is None else choice for item, who, choice, undecided in rows}


def test_a_ranking_is_its_pairs_whoever_ranked_how(tmp_path: Path) -> None:
    responses = ["Yes, that is right.", "- one\n- two\n- three", "no"]
    one = {"item_id": "q", "responses": responses, "ranking": [2, 0, 1], "shown_order": [1, 0, 2], "confidence": 0.7}
    two = {"item_id": "q", "responses": responses, "ranking": [[0, 1], 2]}
    votes = read(tmp_path, one, two)
    assert said(votes) == {
        ("q:0-1", "a0"): 1, ("q:0-2", "a0"): 0, ("q:1-2", "a0"): 0,
        ("q:0-1", "a1"): "tie", ("q:0-2", "a1"): 1, ("q:1-2", "a1"): 1,
    }  # fmt: skip
    first = votes.row(0, named=True)
    assert (first["a_first"], first["len_a"], first["len_b"], first["confidence"]) == (False, 19, 19, 0.7)
    assert (first["format_a"], first["format_b"]) == (0, 3)
    assert (first["confirms_a"], first["confirms_b"]) == (True, False)


def test_ratings_and_criteria(tmp_path: Path) -> None:
    votes = read(
        tmp_path,
        {"item_id": "q", "ratings": [4, None, 5]},
        {"item_id": "q", "choice": 1, "criteria": {"honesty": "b", "helpfulness": [3, 3], "safety": "can't say"}},
    )
    assert said(votes) == {
        ("q:0-1", "a0"): "can't say", ("q:0-2", "a0"): 0, ("q:1-2", "a0"): "can't say",
        ("q", "a1"): 1, ("q:honesty", "a1"): 0, ("q:helpfulness", "a1"): "tie", ("q:safety", "a1"): "can't say",
    }  # fmt: skip
    assert set(votes.filter(pl.col("item_id") == "q:honesty")["topic"]) == {"honesty"}


def test_ties_are_counted_and_are_no_votes(tmp_path: Path) -> None:
    votes = read(
        tmp_path, *({"item_id": f"i{k // 2}", "choice": c} for k, c in enumerate([1, "tie", "unsure", 0, "0.5", 1]))
    )
    cast = poll([votes], None)
    assert len(cast.ballots.who) == 3
    assert cast.ballots.undecided is not None
    assert cast.ballots.undecided.tolist() == [2, 1]
    assert cast.ties == 2


def test_a_csv_may_hold_them_as_json(tmp_path: Path) -> None:
    file = tmp_path / "v.csv"
    file.write_text('item_id,annotator_id,ranking\nq,a,"[1, 0]"\nq,b,"[0, 1]"\n')
    assert said(read_votes(str(file))[0]) == {("q:0-1", "a"): 0, ("q:0-1", "b"): 1}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"ranking": [0, 0]}, "ranking"),
        ({"ranking": [0, 2], "responses": ["a", "b", "c"]}, "each index"),
        ({"ranking": "best first"}, "must be a list"),
        ({"ratings": [1, "high"]}, "'high' is not a number"),
        ({"ratings": [1]}, "two responses"),
        ({"criteria": {"honesty": "perhaps"}}, "'perhaps' is not 0 or 1"),
        ({"criteria": {"honesty": [1, 2, 3]}}, "scores of a and of b"),
        ({"undecided": "maybe"}, "undecided"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(row: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"line 1: field .*") as error:
        read(tmp_path, {"item_id": "q"} | row)
    assert words in str(error.value)
