"""Every format that TRL documents gives the same row; what is wrong is named by file, line and field."""

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from governance.errors import BadInput, MissingComponent
from tasks.formats import read_demonstrations, read_preferences

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
def test_every_kind_of_file_gives_the_same_table(kind: str, tmp_path: Path) -> None:
    rows = [FORMS["string, explicit"] | {"id": f"r{k}", "margin": 0.5 * k, "annotator_id": f"a{k}"} for k in range(3)]
    source = tmp_path / f"p.{kind}"
    if kind == "jsonl":
        write(source, rows)
    elif kind == "jsonl.gz":
        source.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode()))
    elif kind == "csv":
        pl.DataFrame(rows).write_csv(source)
    elif kind == "parquet":
        pl.DataFrame(rows).write_parquet(source)
    else:
        import datasets

        datasets.Dataset.from_list(rows).save_to_disk(str(source))
    table = read_preferences(str(source))
    assert table["id"].to_list() == ["r0", "r1", "r2"]
    assert table["margin"].to_list() == [0.0, 0.5, 1.0]
    assert table["annotator_id"].to_list() == ["a0", "a1", "a2"]
    assert table["chosen"].to_list() == [CHOSEN] * 3


def test_a_ranking_of_k_responses_gives_every_pair(tmp_path: Path) -> None:
    row = {"item_id": "i", "prompt": "Q", "responses": ["w", "x", "y", "z"], "ranking": [2, 0, 3, 1]}
    table = read_preferences(write(tmp_path / "r.jsonl", [row]))
    said = {(c[0]["content"], r[0]["content"]) for c, r in zip(table["chosen"], table["rejected"], strict=True)}
    assert said == {("y", "w"), ("y", "z"), ("y", "x"), ("w", "z"), ("w", "x"), ("z", "x")}
    assert table["id"].n_unique() == 6


def test_demonstrations_from_messages_or_prompt_and_completion(tmp_path: Path) -> None:
    rows = [{"messages": PROMPT + CHOSEN}, {"prompt": "The sky is", "completion": "blue."}]
    table = read_demonstrations(write(tmp_path / "d.jsonl", rows))
    assert table["messages"].to_list() == [PROMPT + CHOSEN] * 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["empty"]),
        (b"\n\n", ["no rows"]),
        (b'{"prompt": "a"\n', ["line 1", "JSON"]),
        (b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n[1]\n', ["line 2", "object"]),
        (b'{"prompt": "a", "chosen": "b"}\n', ["line 1", "rejected"]),
        (b'{"prompt": "a", "chosen": {"x": 1}, "rejected": "c"}\n', ["line 1", "chosen"]),
        (b'{"prompt": "a", "chosen": [{"role": "assistant"}], "rejected": "c"}\n', ["line 1", "chosen", "content"]),
        (b'{"chosen": "one", "rejected": "two"}\n', ["line 1", "prompt"]),
        (b'{"prompt": "a", "chosen": "b", "rejected": "c", "margin": "much"}\n', ["line 1", "margin", "much"]),
        (b'{"prompt": "a", "responses": ["b", "c"], "ranking": [0, 0]}\n', ["line 1", "ranking"]),
        (
            b'{"prompt": "a", "responses": ["b", "c"], "ranking": [0, 1]}\n{"prompt":"a","chosen":"b","rejected":"c"}',
            ["line 2", "mixes"],
        ),
        ('{"prompt": "grün", "chosen": "b", "rejected": "c"}\n'.encode("latin-1"), ["UTF-8"]),
    ],
)
def test_bad_input_is_one_sentence_with_its_place(content: bytes, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_bytes(content)
    with pytest.raises(BadInput) as error:
        read_preferences(str(tmp_path / "bad.jsonl"))
    said = str(error.value)
    assert all(word in said for word in [*words, "bad.jsonl"]), said
    assert "\n" not in said


@pytest.mark.parametrize(("name", "content"), [("a.csv", b"\xff\xfe\x00x"), ("a.parquet", b"PAR1 no"), ("a.gz", b"x")])
def test_files_that_are_not_what_their_name_says(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=name):
        read_preferences(str(tmp_path / name))


def test_an_absent_file_and_an_unreachable_hub_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        read_preferences(str(tmp_path / "absent.jsonl"))
    with pytest.raises(MissingComponent, match="nobody/none"):  # offline
        read_preferences("nobody/none")
