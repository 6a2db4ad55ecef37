"""Every format that TRL documents gives the same row; what is wrong is named by file, line and field."""

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from governance.errors import BadInput
from tasks.formats import preference_chunks, read_demonstrations, read_preferences
from tasks.tables import ContentDigest

PROMPT = [{"role": "user", "content": "The sky is"}]
CHOSEN = [{"role": "assistant", "content": "blue."}]
REJECTED = [{"role": "assistant", "content": "a dog."}]
FORMS: dict[str, dict[str, Any]] = {
    "string, explicit": {"prompt": "The sky is", "chosen": "blue.", "rejected": "a dog."},
    "string, implicit": {"chosen": "The sky is blue.", "rejected": "The sky is a dog."},
    "conversational, explicit": {"prompt": PROMPT, "chosen": CHOSEN, "rejected": REJECTED},
    "conversational, implicit": {"chosen": PROMPT + CHOSEN, "rejected": PROMPT + REJECTED},
    "HH transcript": {
        "chosen": "\n\nHuman: The sky is\n\nAssistant: blue.",
        "rejected": "\n\nHuman: The sky is\n\nAssistant: a dog.",
    },
    "HH transcript, explicit": {
        "prompt": "\n\nHuman: The sky is\n\nAssistant:",
        "chosen": "blue.",
        "rejected": "a dog.",
    },
    "conversational, with the prompt once more": {
        "prompt": "The sky is",
        "chosen": PROMPT + CHOSEN,
        "rejected": PROMPT + REJECTED,
    },
}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("form", FORMS)
def test_every_preference_format_gives_the_same_row(form: str, tmp_path: Path) -> None:
    table = read_preferences(write(tmp_path / "p.jsonl", [FORMS[form]]))
    row = table.row(0, named=True)
    assert (row["prompt"], row["chosen"], row["rejected"]) == (PROMPT, CHOSEN, REJECTED)
    assert row["id"].startswith("row-")


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "csv", "parquet", "folder"])
@pytest.mark.parametrize("form", ["string, explicit", "string, implicit"])
def test_every_kind_of_file_gives_the_same_content(form: str, kind: str, tmp_path: Path) -> None:
    rows = [FORMS[form] | {"id": f"r{k}", "margin": 0.5 * k, "annotator_id": f"a{k}"} for k in range(3)]
    table = read_preferences(save(rows, kind, tmp_path))
    assert table["id"].to_list() == ["r0", "r1", "r2"]
    assert table["margin"].to_list() == [0.0, 0.5, 1.0]
    assert table["annotator_id"].to_list() == ["a0", "a1", "a2"]
    assert table["chosen"].to_list() == [CHOSEN] * 3
    assert digest(table) == digest(read_preferences(write(tmp_path / "same.jsonl", rows)))


@pytest.mark.parametrize("kind", ["jsonl.gz", "parquet", "folder"])
def test_real_conversations_have_one_content_digest(kind: str, tmp_path: Path, hh_rows: list[dict[str, Any]]) -> None:
    expected = digest(read_preferences(write(tmp_path / "p.jsonl", hh_rows)))
    assert digest(read_preferences(save(hh_rows, kind, tmp_path))) == expected


def save(rows: list[dict[str, Any]], kind: str, folder: Path) -> str:
    source = folder / f"p.{kind}"
    if kind == "jsonl":
        return write(source, rows)
    if kind == "jsonl.gz":
        source.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode()))
    elif kind == "csv":
        pl.DataFrame(rows).write_csv(source)
    elif kind == "parquet":
        pl.DataFrame(rows).write_parquet(source)
    else:
        import datasets

        datasets.Dataset.from_list(rows).save_to_disk(str(source))
    return str(source)


def digest(table: pl.DataFrame) -> str:
    found = ContentDigest()
    found.update(table)
    return found.hexdigest()


def test_a_ranking_of_k_responses_gives_every_pair(tmp_path: Path) -> None:
    row = {"item_id": "i", "prompt": "Q", "responses": ["w", "x", "y", "z"], "ranking": [2, 0, 3, 1]}
    table = read_preferences(write(tmp_path / "r.jsonl", [row]))
    said = {(c[0]["content"], r[0]["content"]) for c, r in zip(table["chosen"], table["rejected"], strict=True)}
    assert said == {("y", "w"), ("y", "z"), ("y", "x"), ("w", "z"), ("w", "x"), ("z", "x")}
    assert table["id"].n_unique() == 6
    assert table["ranking_id"].to_list() == ["i"] * 6
    standing = zip(table["chosen"], table["chosen_rank"], table["rejected"], table["rejected_rank"], strict=True)
    assert {(c[0]["content"], a, r[0]["content"], b) for c, a, r, b in standing} == {
        ("ywzx"[a], a, "ywzx"[b], b) for a in range(4) for b in range(a + 1, 4)
    }


def test_demonstrations_from_messages_or_prompt_and_completion(tmp_path: Path) -> None:
    rows = [{"messages": PROMPT + CHOSEN}, {"prompt": "The sky is", "completion": "blue."}]
    table = read_demonstrations(write(tmp_path / "d.jsonl", rows))
    assert table["messages"].to_list() == [PROMPT + CHOSEN] * 2


PAIR = {"prompt": "a", "chosen": "b", "rejected": "c"}
TALK = {"prompt": PROMPT, "chosen": CHOSEN, "rejected": REJECTED}
RANKED = {"prompt": "a", "responses": ["b", "c"], "ranking": [0, 1]}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"question": "a", "answer": "b"}], ["line 1", "no field chosen", "answer, question"]),
        ([PAIR, {"prompt": "a", "chosen": "b"}], ["line 2", "no field rejected"]),
        ([PAIR | {"chosen": None}], ["line 1", "no value in the field chosen"]),
        ([PAIR | {"chosen": 5}], ["line 1", "field chosen", "a number"]),
        ([PAIR | {"prompt": True}], ["line 1", "field prompt", "a truth value"]),
        ([PAIR | {"chosen": {"x": 1}}], ["line 1", "field chosen", "an object"]),
        ([PAIR | {"chosen": []}], ["line 1", "field chosen", "a list of something else"]),
        ([PAIR | {"rejected": [{"role": "assistant"}]}], ["line 1", "field rejected", "content"]),
        ([PAIR | {"rejected": [{"role": "assistant", "content": 7}]}], ["line 1", "field rejected", "content"]),
        ([{"chosen": "one", "rejected": "two"}], ["line 1", "share no beginning", "prompt"]),
        ([PAIR | {"margin": "much"}], ["line 1", "field margin", "'much'"]),
        ([PAIR | {"margin": float("nan")}], ["line 1", "field margin", "nan"]),
        ([PAIR | {"margin": [1]}], ["line 1", "field margin", "[1]"]),
        ([PAIR | {"annotator_id": {"name": "x"}}], ["line 1", "field annotator_id", "an object"]),
        ([PAIR | {"id": ["x"]}], ["line 1", "field id", "a list"]),
        ([RANKED | {"ranking": [0, 0]}], ["line 1", "field ranking", "once"]),
        ([RANKED | {"ranking": [0, "1"]}], ["line 1", "field ranking", "once"]),
        ([RANKED | {"ranking": 0}], ["line 1", "field ranking", "must be a list"]),
        ([RANKED | {"responses": "b"}], ["line 1", "field responses", "must be a list"]),
        ([RANKED | {"responses": ["b"], "ranking": [0]}], ["line 1", "field ranking", "two or more"]),
        ([RANKED, PAIR], ["line 2", "mixes formats", "rankings"]),
        ([PAIR, RANKED], ["line 2", "mixes formats", "rankings"]),
        ([PAIR, TALK], ["line 2", "mixes formats", "messages", "text"]),
        ([PAIR, PAIR, FORMS["string, implicit"]], ["line 3", "mixes formats", "no field prompt"]),
        ([FORMS["conversational, implicit"], TALK], ["line 2", "mixes formats", "a field prompt"]),
        ([PAIR | {"chosen": CHOSEN}], ["line 1", "mixes formats", "one is text"]),
    ],
)
def test_bad_rows_are_one_sentence_with_their_place(rows: list[Any], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(BadInput) as error:
        read_preferences(write(tmp_path / "bad.jsonl", rows))
    said = str(error.value)
    assert all(word in said for word in [*words, "bad.jsonl"]), said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"messages": "hi"}, None),
        ({"messages": 3}, ["line 1", "field messages", "a number"]),
        ({"prompt": "a"}, ["line 1", "no field completion"]),
        ({"text": "a"}, ["line 1", "no field prompt"]),
        ({"messages": PROMPT + CHOSEN, "source": {}}, ["line 1", "field source", "an object"]),
    ],
)
def test_bad_demonstrations_are_one_sentence(row: dict[str, Any], words: list[str] | None, tmp_path: Path) -> None:
    source = write(tmp_path / "bad.jsonl", [row])
    if words is None:  # a lone user turn: validate's rules judge it
        assert read_demonstrations(source).height == 1
        return
    with pytest.raises(BadInput) as error:
        read_demonstrations(source)
    assert all(word in str(error.value) for word in [*words, "bad.jsonl"]), error.value


def test_text_that_looks_like_a_list_is_text(tmp_path: Path) -> None:
    row = {"prompt": "[1, 2] reversed?", "chosen": "[2, 1]", "rejected": '[{"a": 1}]'}
    found = read_preferences(write(tmp_path / "p.jsonl", [row])).row(0, named=True)
    assert [found[c][0]["content"] for c in row] == list(row.values())


def test_ids_name_people_by_their_new_names_only(tmp_path: Path) -> None:
    rows = [RANKED | {"item_id": "i", "annotator_id": who} for who in ("anna", "bert")]
    table = next(preference_chunks(write(tmp_path / "r.jsonl", rows), rename=str.upper))
    assert table["id"].to_list() == ["i:0-1:ANNA", "i:0-1:BERT"]
    assert table["annotator_id"].to_list() == ["ANNA", "BERT"]
    assert table["ranking_id"].to_list() == ["i:ANNA", "i:BERT"]


def test_two_annotators_of_one_pair_without_ids_are_two_rows(tmp_path: Path) -> None:
    rows = [PAIR | {"annotator_id": who} for who in ("anna", "bert", "anna")]
    ids = read_preferences(write(tmp_path / "p.jsonl", rows))["id"].to_list()
    assert ids[0] == ids[2] != ids[1]
