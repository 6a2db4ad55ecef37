"""SIMULATED mistakes in worked solutions: one result changes, and everything after it goes on from there."""

import gzip
import json
from fractions import Fraction

import pytest

from tasks.simulated_mistakes import MARK, MISTAKES, _with_mistake, value_of, with_mistakes
from tests.conftest import ROOT

LINES = ["She sold 48/2 = <<48/2=24>>24 clips in May.", "In all 48+24 = <<48+24=72>>72 clips."]


class Draws:
    """Stands for a generator that always takes the same of what it is offered."""

    def __init__(self, place: int) -> None:
        self.place = place

    def choice(self, offered: list[Fraction]) -> Fraction:
        return offered[self.place]


@pytest.mark.parametrize(
    ("line", "place", "steps", "answer"),
    [
        (0, 0, ["She sold 48/2 = 25 clips in May.", "In all 48+25 = 73 clips.", "The answer is 73."], "73"),
        (0, 6, ["She sold 48/2 = 240 clips in May.", "In all 48+240 = 288 clips.", "The answer is 288."], "288"),
        (1, 1, ["She sold 48/2 = 24 clips in May.", "In all 48+24 = 71 clips.", "The answer is 71."], "71"),
    ],
)
def test_a_mistake_is_carried_on(line: int, place: int, steps: list[str], answer: str) -> None:
    at = LINES[line].index("<<")
    made = _with_mistake(LINES, "72", line, at, Draws(place))  # type: ignore[arg-type]
    assert made is not None
    assert (made.steps, made.answer, made.right, made.first_error) == (steps, answer, False, line)


def test_a_mistake_that_the_answer_does_not_depend_on_leaves_it_right() -> None:
    lines = ["A box weighs 2*3 = <<2*3=6>>6 kg.", "There are 4+5 = <<4+5=9>>9 boxes."]
    made = _with_mistake(lines, "9", 0, lines[0].index("<<"), Draws(0))  # type: ignore[arg-type]
    assert made is not None
    assert (made.answer, made.right, made.first_error) == ("9", True, 0)


def test_two_results_that_are_the_same_number_cannot_be_told_apart() -> None:
    lines = ["By car 2*45 = <<2*45=90>>90.", "By bus 3*30 = <<3*30=90>>90.", "In all <<90+90=180>>180."]
    assert _with_mistake(lines, "180", 0, lines[0].index("<<"), Draws(0)) is None  # type: ignore[arg-type]


def test_a_debt_is_left_as_it_is() -> None:
    lines = ["He has 5-25 = <<5-25=-20>>-20 dollars.", "After work <<-20+30=10>>10."]
    assert _with_mistake(lines, "10", 0, lines[0].index("<<"), Draws(0)) is None  # type: ignore[arg-type]


def test_the_solution_and_different_copies_of_it() -> None:
    found = with_mistakes("q", "\n".join(LINES) + "\n#### 72", seed="1")
    assert found[0].steps == [
        "She sold 48/2 = 24 clips in May.",
        "In all 48+24 = 72 clips.",
        "The answer is 72.",
    ]
    assert (found[0].right, found[0].first_error) == (True, None)
    assert len(found) == 1 + MISTAKES == len({tuple(s.steps) for s in found})
    assert all(s.first_error in (0, 1) and not s.right for s in found[1:])
    assert with_mistakes("q", "\n".join(LINES) + "\n#### 72", seed="1") == found


@pytest.mark.parametrize(
    "answer", ["It is <<1+1=2>>2. #### 2", "<<1+1=2>>2\n<<2+2=5>>5\n#### 5", "<<1+1=2>>2\n<<x+2=4>>4\n#### 4", ""]
)
def test_what_has_no_two_calculations_that_add_up_is_left_out(answer: str) -> None:
    assert with_mistakes("q", answer, seed="1") == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,200*.5", 600),
        ("-3+5", 2),
        ("05+1", 6),
        ("7/0", None),
        ("__import__('os')", None),
        ("2**9", None),
        ("a", None),
    ],
)
def test_expressions(text: str, value: int | None) -> None:
    assert value_of(text) == value


def test_of_real_solutions_every_calculation_but_the_mistaken_one_adds_up() -> None:
    checked = 0
    with gzip.open(ROOT / "data/raw/gsm8k/train.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(300), strict=False)]
    for row in rows:
        first, *others = with_mistakes(row["question"], row["answer"], seed=row["question"]) or [None]
        for made in others:
            assert first is not None and made.first_error is not None
            before, after = made.steps[: made.first_error], first.steps[: made.first_error]
            assert before == after and made.steps[made.first_error] != first.steps[made.first_error]
            assert not MARK.search("".join(made.steps))
            assert made.right == (made.answer == first.answer)
            checked += 1
    assert checked > 500
