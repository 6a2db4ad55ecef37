"""Vendors' vote files, and pseudonyms of the people in them."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from governance.errors import BadInput
from tasks.polls import _codes, poll
from tasks.pseudonyms import pseudonymise
from tasks.votes import GOLDEN, VOTES, read_golden, read_votes, refuse_foreign_golden

ROOT = Path(__file__).resolve().parents[2]


def test_keys_that_differ_in_their_last_bits_alone_keep_their_order() -> None:
    for given in ([5, 3, 4], [4, 5, 4, 1 << 63, 3], []):
        keys, code = _codes(np.array(given, dtype=np.uint64))
        assert keys.tolist() == sorted(set(given))
        assert keys[code].tolist() == given


def test_the_real_vote_files_are_read() -> None:
    rte, left_out = read_votes(str(ROOT / "data/raw/crowdtruth_rte/votes.csv"))
    assert dict(rte.schema) == dict(VOTES)
    assert (rte.height, left_out) == (8000, 0)
    gold = read_golden(str(ROOT / "data/raw/crowdtruth_rte/gold.csv"))
    assert dict(gold.schema) == dict(GOLDEN)
    assert set(rte["item_id"].unique()) == set(gold["item_id"])
    timed, left_out = read_votes(str(ROOT / "data/raw/crowdflower_timed/votes.csv"))
    assert timed.height + left_out == 3000
    assert timed["created_at"].is_not_null().all()


def test_words_and_numbers_are_choices(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("item_id,worker_id,label\ni,a,yes\ni,b,0\ni,c,1.0\ni,d,B\n")
    votes, _ = read_votes(str(tmp_path / "v.csv"))
    assert votes["choice"].to_list() == [1, 0, 1, 0]
    assert votes["annotator_id"].to_list() == ["a", "b", "c", "d"]
    (tmp_path / "w.csv").write_text(
        "item_id,worker_id,winner\ni,a,model_a\ni,b,Response B\ni,c,answer_a\ni,d,tie (bothbad)\n"
    )
    assert read_votes(str(tmp_path / "w.csv"))[0]["choice"].to_list() == [1, 0, 1, None]


def test_times_as_a_number_are_those_since_1970() -> None:
    times = ["2023-11-14T22:13:20Z", "1700000000", "1700000000.25", "1700000000999", "17", "soon"]
    votes = pl.DataFrame({"item_id": list("ijklmn"), "annotator_id": ["x"] * 6, "choice": [1] * 6, "created_at": times})
    cast = poll([votes], None)
    assert cast.ballots.time is not None
    assert sorted(cast.ballots.time.tolist()) == [-1, -1] + [1_700_000_000] * 4
    assert cast.undated == 2


def test_parquet_and_csv_are_the_same(tmp_path: Path) -> None:
    frame = pl.DataFrame({"item_id": ["1", "2"], "annotator_id": ["x", "y"], "choice": [0, 1]})
    frame.write_parquet(tmp_path / "v.parquet")
    frame.write_csv(tmp_path / "v.csv")
    assert read_votes(str(tmp_path / "v.parquet"))[0].equals(read_votes(str(tmp_path / "v.csv"))[0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("item_id,annotator_id\n1,a\n", ["choice"]),
        ("item_id,annotator_id,choice\n1,a,maybe\n", ["line 2", "choice", "maybe"]),
        ("item_id,annotator_id,choice\n1,a,1\n,b,0\n", ["line 3", "item_id"]),
        ("item_id,annotator_id,choice,confidence\n1,a,1,very\n", ["confidence"]),
        ("item_id,annotator_id,choice\n", ["no rows"]),
        ("item_id,annotator_id,choice,len_a\n1,a,1,2.5\n", ["line 2", "len_a", "whole"]),
        ("item_id,annotator_id,choice\n1,a,1\n2,a,0\n", ["all 2 votes", "one annotator"]),
        ("item_id,annotator_id,choice\n1,a,\"['yes']\"\n", ["no votes", "0 or 1"]),
    ],
)
def test_bad_votes_are_one_sentence(text: str, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text(text)
    with pytest.raises(BadInput) as error:
        read_votes(str(tmp_path / "v.csv"))
    assert all(word in str(error.value) for word in [*words, "v.csv"]), error.value


def test_parquet_of_other_types_is_read_row_by_row(tmp_path: Path) -> None:
    whole = pl.DataFrame({"item_id": [1, 2], "annotator_id": ["x", "y"], "choice": [0, 1], "confidence": [0.5, None]})
    words = whole.with_columns(choice=pl.Series(["no", "yes"]), len_a=pl.Series(["3", None]))
    for name, frame in (("whole", whole.with_columns(len_a=pl.Series([3, None]))), ("words", words)):
        frame.write_parquet(tmp_path / f"{name}.parquet")
    found = [read_votes(str(tmp_path / f"{name}.parquet"))[0] for name in ("whole", "words")]
    assert found[0].equals(found[1])
    assert found[0]["a_is_chosen"].to_list() == [True, True]
    whole.with_columns(choice=pl.Series([0, 2])).write_parquet(tmp_path / "two.parquet")
    with pytest.raises(BadInput, match="row 2: field choice: '2' is not 0 or 1"):
        read_votes(str(tmp_path / "two.parquet"))


def test_golden_items_of_other_votes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text("item_id,gold\nx,1\ny,0\n")
    golden = read_golden(str(tmp_path / "g.csv"))
    refuse_foreign_golden(golden, {"y", "z"}, "g.csv", "v.csv")  # one is: the others are validate's to judge
    with pytest.raises(BadInput, match=r"g\.csv: none of its 2 golden items .*'x'.* items of v\.csv"):
        refuse_foreign_golden(golden, {"1", "2"}, "g.csv", "v.csv")


def test_pseudonyms_are_stable_keyed_and_leave_the_simulated_alone() -> None:
    frame = pl.DataFrame({"annotator_id": ["anna@example.org", None, "sim-001", "anna@example.org"]})
    one = pseudonymise(frame, "annotator_id", b"k" * 32)["annotator_id"].to_list()
    other = pseudonymise(frame, "annotator_id", b"l" * 32)["annotator_id"].to_list()
    assert one[0] == one[3] != other[0]
    assert one[0].startswith("p-")
    assert "anna" not in one[0]
    assert one[1:3] == [None, "sim-001"]
