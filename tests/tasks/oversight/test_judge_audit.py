"""Figures on a protocol's judge."""

import numpy as np
import pytest

from tasks.choice_models import Preferences
from tasks.oversight.judge_audit import accuracy, reading, sentence
from tasks.oversight.protocol import Question
from tasks.stats.intervals import wilson

ONE = Question("?", ("a", "b"), 0, 1)
SOURCES = {"problems": [ONE] * 30, "deductions": [ONE] * 20}


def test_accuracy_by_way_and_file_and_what_the_protocol_adds() -> None:
    right = {"debate": np.repeat([1.0, 0.0], [45, 5]), "direct": np.repeat([1.0, 0.5, 0.0], [30, 2, 18])}
    rows = {r["name"].removeprefix("oversight/judge_accuracy/"): r for r in accuracy("debate", SOURCES, right, 0)}
    assert set(rows) == {
        *(f"{way}{part}" for way in right for part in ("", "/problems", "/deductions")),
        "debate_minus_direct",
    }
    assert (rows["debate"]["value"], rows["debate"]["n"]) == (0.9, 50)
    assert (rows["direct"]["low"], rows["direct"]["high"]) == wilson(31, 50)
    assert rows["debate/deductions"]["value"] == 0.75 and rows["debate/deductions"]["slice"] == "deductions"
    change = rows["debate_minus_direct"]
    assert change["value"] == pytest.approx(0.28) and 0 < change["low"] < 0.28 < change["high"]


@pytest.mark.parametrize(
    ("hits", "words"), [(45, ""), (28, "is not told apart from guessing"), (10, "is worse than guessing")]
)
def test_a_judge_at_chance_is_called_so(hits: int, words: str) -> None:
    right = {"direct": np.repeat([1.0, 0.0], [hits, 50 - hits])}
    rows = accuracy("direct", SOURCES, right, 0)
    assert not [r for r in rows if "minus" in r["name"]]
    said = sentence("direct", rows)
    assert said.startswith(f"On 50 questions of known truth the judge took the right answer on {hits / 50:.3f} [")
    assert words in said and ("guessing" in said) == bool(words) and "alone" not in said


def test_questions_without_a_letter_are_not_read() -> None:
    found = Preferences(np.array([1.0, -2.0, np.nan]), np.array([0.0, 3.0, np.nan]), np.array([0.8, 0.6, np.nan]))
    rows = {r["name"]: r for r in reading([found, found], 0)}
    assert rows["oversight/orders_agree"]["value"] == 0.5 and rows["oversight/orders_agree"]["n"] == 4
    assert rows["oversight/answers_a_or_b"]["value"] == pytest.approx(0.7)
    assert reading([], 0) == []
