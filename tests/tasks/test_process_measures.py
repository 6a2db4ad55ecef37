"""Figures on process and outcome models against values worked by hand."""

from typing import Any

import numpy as np
import pytest

from tasks.process_measures import (
    best_of,
    by_majority,
    calibrations,
    locations,
    outcomes,
    selections,
)
from tasks.process_rewards import parts_of, thresholds_of
from tasks.rlhf.process_reward import Encoded
from tasks.splits import HELD_OUT_FROM, position
from tasks.stats.intervals import wilson
from tasks.step_solutions import SIMULATED, Solution

DRAWN: dict[str, Any] = {"level": 0.95, "resamples": 200, "seed": 7}


def solution(problem: str, labels: list[bool], *, task: str = "t", answer: str = "1", right: bool = True) -> Solution:
    asked = [{"role": "user", "content": problem}]
    return Solution("id", task, asked, ["s"] * len(labels), labels, answer, right)


def by_name(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {row["name"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def test_places_beside_the_most_frequent_one() -> None:
    """Threshold .5 of the task: found are 1 (right), none (right), 0 (wrong); the training part's most frequent place is 1."""
    test = [solution("a", [True, False]), solution("b", [True, True]), solution("c", [True, False])]
    steps = [np.array(p) for p in ([0.9, 0.2], [0.6, 0.7], [0.4, 0.1])]
    train = [solution("x", [True, False]), solution("y", [True, False]), solution("z", [False])]
    rows = by_name(locations(test, steps, {"": 0.99, "t": 0.5}, train, DRAWN))
    found, majority, gap = (rows[f"process/first_error{x}/t"] for x in ("", "_majority", "_minus_majority"))
    assert (found["value"], majority["value"]) == (2 / 3, 2 / 3)
    assert (found["low"], found["high"]) == pytest.approx(wilson(2, 3))
    assert gap["value"] == pytest.approx(0) and gap["low"] < 0 < gap["high"]  # +1 on b, −1 on c
    assert {r["n"] for r in rows.values()} == {3} and {r["slice"] for r in rows.values()} == {None}
    other = by_name(locations(test, steps, {"": 0.99}, train, DRAWN))  # a task that the dev part lacks
    assert other["process/first_error/t"]["value"] == 0


def test_outcomes_beside_the_more_frequent_one() -> None:
    test = [solution(p, [True], task=SIMULATED, right=r) for p, r in (("a", True), ("b", False), ("c", False))]
    train = [solution("x", [True], task=SIMULATED, right=r) for r in (True, True, False)]
    rows = by_name(outcomes(test, np.array([0.5, 0.49, 0.9]), train, DRAWN))
    assert rows[f"outcome/accuracy/{SIMULATED}"]["value"] == 2 / 3
    assert rows[f"outcome/accuracy_majority/{SIMULATED}"]["value"] == 1 / 3
    assert {r["slice"] for r in rows.values()} == {"SIMULATED mistakes"}


def test_calibration_is_of_the_steps_up_to_the_first_wrong_one() -> None:
    """Read are .8, .3 (wrong) and .6: (.04 + .09 + .16)/3; the answers .9 (right) and .2 (right): (.01 + .64)/2."""
    test = [solution("a", [True, False, False]), solution("b", [True])]
    steps = [np.array([0.8, 0.3, 0.99]), np.array([0.6])]
    rows = by_name(calibrations(test, steps, np.array([0.9, 0.2]), DRAWN))
    assert rows["process/brier"]["value"] == pytest.approx(0.29 / 3) and rows["process/brier"]["n"] == 3
    assert rows["outcome/brier"]["value"] == pytest.approx(0.325)
    assert rows["process/ece"]["value"] == pytest.approx((0.2 + 0.3 + 0.4) / 3)  # three bins of one
    assert rows["outcome/ece"]["value"] == pytest.approx((0.1 + 0.8) / 2)


def test_what_is_picked() -> None:
    assert best_of([0.2, 0.9, 0.9], [True, True, False]) == 0.5
    assert by_majority(["1", "2", "1"], [False, True, False]) == 0.0
    assert by_majority(["1", "2"], [False, True]) == 0.5


def test_selection_where_a_problem_leaves_a_choice() -> None:
    """Of problem a the second solution is right, its steps multiply to .72 against .7; the outcome model prefers the first.
    Problem b has two right ones and leaves no choice, c has one solution."""
    test = [
        solution("a", [True, False], answer="1", right=False),
        solution("a", [True, True], answer="2", right=True),
        solution("a", [True, False], answer="1", right=False),
        solution("b", [True]),
        solution("b", [True]),
        solution("c", [True], right=False),
    ]
    steps = [np.array(p) for p in ([1.0, 0.7], [0.8, 0.9], [0.5, 0.95], [0.1], [0.9], [0.5])]
    answers = np.array([0.6, 0.5, 0.4, 0.5, 0.5, 0.5])
    rows = by_name(selections(test, steps, answers, "product", DRAWN))
    values = {name.split("/")[1]: row["value"] for name, row in rows.items()}
    assert values == {
        "process": 1.0,
        "outcome": 0.0,
        "majority": 0.0,
        "random": pytest.approx(1 / 3),
        "process_minus_outcome": 1.0,
        "process_minus_majority": 1.0,
        "process_minus_random": pytest.approx(2 / 3),
    }
    assert {row["n"] for row in rows.values()} == {1}  # problems, not solutions
    last = by_name(selections(test, steps, answers, "last", DRAWN))
    assert last["best_of_n/process/t"]["value"] == 0.0  # .95 of the third
    assert selections(test[3:], steps[3:], answers[3:], "product", DRAWN) == []


def test_each_task_has_the_threshold_that_finds_most_of_its_own() -> None:
    """Of task t the steps below .3 are wrong, of u those below .8; together neither's threshold serves both."""
    dev = [
        solution("a", [True, False], task="t"),
        solution("b", [True], task="t"),
        solution("c", [True, False], task="u"),
    ]
    steps = [np.array([0.4, 0.2]), np.array([0.4]), np.array([0.9, 0.7])]
    found = thresholds_of(steps, dev)
    assert found["t"] == pytest.approx(0.3) and found["u"] == pytest.approx(0.8) and set(found) == {"", "t", "u"}


def test_sides_keep_solutions_and_tokens_together() -> None:
    some = [solution(f"problem {k}", [True]) for k in range(60)]
    rows = [Encoded([k], 0, [0]) for k in range(60)]
    parts = parts_of(some, rows, 0.3)
    assert sorted(row.ids[0] for part in parts.values() for row in part.rows) == list(range(60))
    for side, part in parts.items():
        assert [some[row.ids[0]] for row in part.rows] == part.solutions
        assert all((position(s.problem) >= HELD_OUT_FROM) == (side == "test") for s in part.solutions)
