"""Published file formats are read, and a bad row is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from governance.errors import BadInput
from tasks.evals.files import read_pairs, read_prompts, read_questions

ROOT = Path(__file__).resolve().parents[3]


def written(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "set.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def test_reward_bench(tmp_path: Path) -> None:
    path = written(tmp_path, {"prompt": "Hi", "chosen": "Hello", "rejected": "Go", "subset": "chat", "id": 4})
    (pair,) = read_pairs(path)
    assert (pair.prompt[0]["content"], pair.first, pair.second, pair.label, pair.source) == (
        "Hi",
        "Hello",
        "Go",
        1,
        "chat",
    )


def test_llmbar(tmp_path: Path) -> None:
    (pair,) = read_pairs(written(tmp_path, {"input": "Hi", "output_1": "Go", "output_2": "Hello", "label": 2}))
    assert (pair.label, pair.second) == (2, "Hello")


def test_pandalm_votes() -> None:
    pairs = read_pairs(str(ROOT / "data/raw/pandalm/pairs.jsonl"))
    assert len(pairs) == 999 and {len(p.votes) for p in pairs} == {3}
    assert all(p.label == max(p.votes, key=p.votes.count) for p in pairs if len(set(p.votes)) < 3)
    assert all(p.label == 0 for p in pairs if len(set(p.votes)) == 3)


@pytest.mark.parametrize(
    "row",
    [
        {"input": "Hi", "output_1": "a", "output_2": "b", "label": 3},
        {"instruction": "Hi", "response1": "a", "response2": "b", "annotator1": "9"},
        {"question": "Hi"},
    ],
)
def test_a_bad_pair_is_named(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"set\.jsonl: line 1"):
        read_pairs(written(tmp_path, row))


@pytest.mark.parametrize("answer", [1, "B", "b", "four"])
def test_questions(tmp_path: Path, answer: Any) -> None:
    (q,) = read_questions(written(tmp_path, {"question": "2 + 2", "choices": ["three", "four"], "answer": answer}))
    assert q.right == [1]


@pytest.mark.parametrize(
    "row",
    [
        {"question": "2 + 2", "choices": {"text": ["three", "four"], "label": ["1", "2"]}, "answerKey": "2"},
        {"question_stem": "2 + 2", "choices": {"text": ["three", "four"], "label": ["A", "B"]}, "answerKey": "B"},
        {"question": "2 + 2", "mc1_targets": {"choices": ["three", "four"], "labels": [0, 1]}},
        {"ctx": "2 + 2", "endings": ["three", "four"], "label": "1"},
        {"input": "2 + 2", "target_scores": {"three": 0, "four": 1}},
    ],
)
def test_published_sets_of_questions(tmp_path: Path, row: dict[str, Any]) -> None:
    (q,) = read_questions(written(tmp_path, row))
    assert (q.question, q.choices, q.right) == ("2 + 2", ["three", "four"], [1])
    broken = {k: {"text": ["a", "b"], "label": []} if k == "choices" else v for k, v in row.items() if k != "label"}
    if broken != row:
        with pytest.raises(BadInput, match=r"set\.jsonl: line 1: names no right choice"):
            read_questions(written(tmp_path, broken))


def test_a_set_that_is_one_array(tmp_path: Path) -> None:
    file = tmp_path / "dataset.json"
    rows = [{"input": f"q{n}", "output_1": "a", "output_2": "b", "label": n} for n in (1, 2)]
    file.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    assert [p.label for p in read_pairs(str(file))] == [1, 2]


def test_several_right_choices_and_none(tmp_path: Path) -> None:
    row = {"question": "q", "choices": ["a", "b", "c"], "labels": [1, 0, 1]}
    assert read_questions(written(tmp_path, row))[0].right == [0, 2]
    with pytest.raises(BadInput, match="names no right choice"):
        read_questions(written(tmp_path, row | {"labels": [0, 0, 0]}))


def test_prompts_by_any_of_the_usual_fields(tmp_path: Path) -> None:
    rows = [{"prompt": "a"}, {"goal": "b"}, {"instruction": "c", "input": "d"}]
    assert [p[0]["content"] for p in read_prompts(written(tmp_path, *rows))] == ["a", "b", "c\n\nd"]
