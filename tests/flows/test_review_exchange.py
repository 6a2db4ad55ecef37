"""The queue to Argilla and Label Studio and back: files as these tools write them, answers once, people by pseudonym."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from flows.review import export_tasks, queue, take_in
from governance.errors import BadInput
from tasks.review_store import CRITERIA, ReviewStore
from tests.flows.test_review import pair, single


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReviewStore:
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path / "home"))
    found = queue()
    found.add("run", [*(pair(n) for n in range(8)), single(1), pair(100, gold=0)])
    return found


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def good_first(fields: dict[str, str]) -> list[str]:
    return sorted((k for k in fields if k.startswith("response_")), key=lambda k: not fields[k].startswith("good"))


def test_argilla_there_and_back(store: ReviewStore, tmp_path: Path) -> None:
    assert export_tasks(tmp_path / "out", "argilla") == {"of 1 responses": 1, "of 2 responses": 9}
    pairs, ratings = (read(tmp_path / f"out/argilla-{n}.json") for n in ("2-responses", "1-response"))
    assert len({r["metadata"]["shown_order"] for r in pairs}) == 2
    settings = read(tmp_path / "out/argilla-2-responses-settings.json")
    assert {f["name"] for f in settings["fields"]} == set(pairs[0]["fields"])
    for record in pairs:
        said = {"value": good_first(record["fields"]), "user_id": "ada@example.org", "status": "submitted"}
        record["responses"] = {"ranking": [said, {"value": None, "user_id": "bob", "status": "draft"}]}
    ratings[0]["responses"] = {c: [{"value": 4, "user_id": "ada@example.org"}] for c in CRITERIA}
    for name, document in (("pairs", pairs), ("ratings", ratings)):
        (tmp_path / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    assert [take_in(tmp_path / f"{n}.json") for n in ("pairs", "ratings", "pairs")] == [9, 1, 9]
    comparisons, golden, rated = store.export()
    assert len(comparisons) == 8 and all(c["responses"][c["ranking"][0]].startswith("good") for c in comparisons)
    assert [g["right"] for g in golden] == [True] and rated[0]["ratings"] == dict.fromkeys(CRITERIA, 4)
    assert b"ada@" not in (tmp_path / "home/review.sqlite").read_bytes()


def test_label_studio_there_and_back(store: ReviewStore, tmp_path: Path) -> None:
    export_tasks(tmp_path / "out", "label-studio")
    tasks = read(tmp_path / "out/label-studio-2-responses.json")
    view = ElementTree.parse(tmp_path / "out/label-studio-2-responses.xml").getroot()
    names = {e.get("name"): e for e in view}
    assert names["ranking"].get("toName") in names and names["responses"].get("value") == "$responses"
    for number, task in enumerate(tasks):
        shown = task["data"]["responses"]
        assert not any(r["id"].isdigit() for r in shown), "its page would show numbers in their own order"
        best_first = [r["id"] for r in sorted(shown, key=lambda r: not r["body"].startswith("good"))]
        value = {"ranker": {"ranking": best_first}}  # as its page writes it, under the name of the control
        result = [
            {"from_name": "ranking", "to_name": "responses", "type": "ranker", "value": value},
            {"from_name": "reason", "to_name": "prompt", "type": "textarea", "value": {"text": ["clear"]}},
        ]
        done = {"completed_by": {"id": 1, "email": "ada@example.org"}, "lead_time": 12.34, "result": result}
        task |= {"id": number, "annotations": [done, {"completed_by": 2, "was_cancelled": True, "result": []}]}
    file = tmp_path / "export.json"
    file.write_text(json.dumps(tasks), encoding="utf-8")
    assert take_in(file) == 9
    comparisons, golden, _ = store.export()
    assert len(comparisons) == 8 and {c["ranking"][0] for c in comparisons} == {0}
    assert comparisons[0]["seconds"] == 12.3 and comparisons[0]["reason"] == "clear" and golden[0]["right"]
    assert export_tasks(tmp_path / "left", "label-studio") == {"of 1 responses": 1}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("{}", "no list"),
        (
            '[{"data": {"shown_order": [0, 1], "item_id": "x"}, "annotations": [{"completed_by": 1, "result": '
            '[{"from_name": "ranking", "value": {"ranker": {}}}]}]}]',
            "queue",
        ),
        ('[{"data": {}}]', "task 1"),
        ('[{"id": "x", "metadata": {"shown_order": "0,1"}, "responses": {"ranking": [{"user_id": "a"}]}}]', "record 1"),
        (
            '[{"data": {"shown_order": [0], "item_id": "x"}, "annotations": [{"completed_by": 1, "result": []}]}]',
            "queue",
        ),
    ],
)
def test_files_that_are_neither_are_refused(store: ReviewStore, tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "export.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(BadInput, match=words):
        take_in(file)
    assert store.export() == ([], [], [])


def test_a_file_with_one_bad_answer_is_refused_as_a_whole(store: ReviewStore, tmp_path: Path) -> None:
    export_tasks(tmp_path / "out", "argilla")
    pairs = read(tmp_path / "out/argilla-2-responses.json")
    for record in pairs:
        ranked = ["response_1", "response_2"]
        record["responses"] = {"ranking": [{"value": ranked, "user_id": "ada", "status": "submitted"}]}
    pairs[-1]["id"] = "of another queue"
    file = tmp_path / "export.json"
    file.write_text(json.dumps(pairs), encoding="utf-8")
    with pytest.raises(BadInput, match=r"^export\.json: of another queue: is not in the queue\.$"):
        take_in(file)
    assert store.export() == ([], [], []) and len(store.open_items()) == 10
