"""Solutions with labelled steps: what is read, what is refused, and on which side a problem stands."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from governance.errors import BadInput
from tasks import params
from tasks.splits import HELD_OUT_FROM, position
from tasks.step_solutions import SIMULATED, majority_answers, read_solutions, side_of, table_of
from tasks.training_params import Process
from tests.conftest import ROOT


def settings(**changes: Any) -> Process:
    shipped = params.load(ROOT / "params.yaml").process
    found = {"traces": str(ROOT / shipped.traces), "problems": str(ROOT / shipped.problems), "solutions": 5000}
    return Process.model_validate(shipped.model_dump() | found | changes)


def written(folder: Path, *rows: dict[str, Any], name: str = "mine.jsonl") -> str:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(folder)


STEPWISE = {"prompt": "2+2+1?", "completions": ["2+2=4", "4+1=6", "So 6"], "labels": [True, False, True]}


def test_the_shipped_traces_are_the_published_ones() -> None:
    """Counts of table 2 of Tyen et al. (2024), and answers that disagree with "no mistake" on 206 traces."""
    found = read_solutions(settings(simulated=0), 7)
    assert Counter(s.task for s in found) == {
        "dyck_languages": 986,
        "logical_deduction": 300,
        "multistep_arithmetic": 300,
    }
    assert {
        task: (sum(s.right for s in found if s.task == task), sum(not all(s.labels) for s in found if s.task == task))
        for task in ("dyck_languages", "logical_deduction", "multistep_arithmetic")
    } == {"dyck_languages": (482, 650), "logical_deduction": (45, 294), "multistep_arithmetic": (45, 238)}
    assert sum(s.right != all(s.labels) for s in found) == 206
    assert max(len(s.steps) for s in found) == 126
    assert majority_answers(found) == {"dyck_languages": None, "logical_deduction": 1, "multistep_arithmetic": 1}
    first = found[0]
    assert (first.first_error, first.answer, first.right, first.simulated) == (12, "}", False, False)
    assert first.labels == [True] * 12 + [False] * 4  # counted from 0


def test_trl_rows_and_where_the_outcome_is_from(tmp_path: Path) -> None:
    known = {**STEPWISE, "answer": "5", "target": " 5 ", "task": "sums"}
    messages = {**STEPWISE, "prompt": [{"role": "user", "content": "1+1?"}], "labels": [True, True, False]}
    found = read_solutions(settings(traces=written(tmp_path, STEPWISE, known, messages), simulated=0), 7)
    assert [(s.task, s.right, s.first_error, s.id) for s in found] == [
        ("mine", True, 1, "mine-0"),  # the last step's label, where nothing else says it
        ("mine", False, 2, "mine-2"),
        ("sums", True, 1, "mine-1"),  # the answer is the target, whatever the steps are
    ]
    assert found[0].prompt == [{"role": "user", "content": "2+2+1?"}]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({**STEPWISE, "labels": [True]}, "mine.jsonl: line 1: 3 completions and 1 labels"),
        ({**STEPWISE, "labels": [1, 0, 1]}, "line 1: field labels: must be a list of true and false"),
        ({**STEPWISE, "completions": []}, "line 1: field completions: must be a list of steps"),
        ({**STEPWISE, "prompt": " "}, "line 1: field prompt: must be text or messages"),
        ({**STEPWISE, "task": SIMULATED}, f"the task {SIMULATED} is this program's own"),
        (
            {"input": "x", "steps": ["a"], "mistake_index": 1, "target": "1"},
            "line 1: field mistake_index: must be null, or the place of a step from 0 to 0",
        ),
        ({"input": "x", "steps": ["a"], "mistake_index": 0}, "line 1: field target: must be text"),
    ],
)
def test_what_is_refused(row: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=sentence):
        read_solutions(settings(traces=written(tmp_path, row), simulated=0), 7)


def test_problems_without_marks_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "problems", {"question": "How many?", "answer": "Three. #### 3"})
    with pytest.raises(BadInput, match=r"problems/mine.jsonl: no solution has two <<a\+b=c>> marks"):
        read_solutions(settings(problems=str(tmp_path / "problems/mine.jsonl"), simulated=3), 7)


def test_no_problem_is_on_two_sides_and_the_test_side_is_held_out_from_the_base_model() -> None:
    found = read_solutions(settings(solutions=200, simulated=60), 7)
    sides = [side_of(s, 0.2) for s in found]
    for side in ("train", "dev"):
        others = {s.problem for s, at in zip(found, sides, strict=True) if at != side}
        assert not others & {s.problem for s, at in zip(found, sides, strict=True) if at == side}
    assert {s.problem for s in found if position(s.problem) >= HELD_OUT_FROM} == {
        s.problem for s, at in zip(found, sides, strict=True) if at == "test"
    }
    counts = Counter(sides)
    assert counts["train"] > counts["test"] > counts["dev"] * 0.8 > 20
    assert Counter(s.task for s in found)[SIMULATED] >= 60 * 3
    assert len({s.problem for s in found if s.task == SIMULATED}) == 60
    table = table_of(found, 0.2)
    assert table.columns[:4] == ["id", "prompt", "completions", "labels"]  # TRL's stepwise supervision
    assert table["id"].is_unique().all() and table["side"].to_list() == sides
    assert table.filter("simulated")["task"].unique().to_list() == [SIMULATED]


def test_fewer_solutions_are_drawn_by_the_seed_from_all_over_the_file() -> None:
    some, others = (read_solutions(settings(solutions=50, simulated=0), seed) for seed in (7, 8))
    assert Counter(s.task for s in some).most_common() == [
        ("dyck_languages", 50),
        ("logical_deduction", 50),
        ("multistep_arithmetic", 50),
    ]
    assert {s.id for s in some} != {s.id for s in others}
    places = [int(s.id.rsplit("-", 1)[1]) for s in some if s.task == "dyck_languages"]
    assert places == sorted(places) and places[-1] > 700
