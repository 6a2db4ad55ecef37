"""What a judge of trees makes of what was said."""

import numpy as np

from tasks.oversight.protocol import Case, Question, Statement
from tasks.oversight.tree_judge import TreeJudge
from tasks.oversight.trees import ARITHMETIC
from tests.tasks.oversight.conftest import ExactReader

DEEP = "((1+2)*(3+4))"  # 1


def odds(*said: tuple[int | None, str], limit: int = 0, answers: tuple[str, str] = ("1", "4")) -> float:
    question = Question(DEEP, answers, 0, 2)
    case = Case(question, tuple(Statement(side, text) for side, text in said))
    return float(TreeJudge(ExactReader(ARITHMETIC, limit)).log_odds([case])[0])


def test_a_step_is_read_with_what_was_stated_of_its_parts() -> None:
    assert abs(odds(limit=1)) < 1e-9  # the whole is beyond him
    assert odds((None, "(1+2)=3"), (None, "(3+4)=7"), limit=1) > 3
    assert odds((1, "(1+2)=2"), (1, "(3+4)=7"), limit=1) > 3  # a lie that he can check is no word for its answer
    assert odds((0, "(1+2)=2"), limit=1) == 0  # one part alone makes no step of it


def test_words_that_contradict_cancel_and_a_helpers_word_counts() -> None:
    both: list[tuple[int | None, str]] = [(0, "(1+2)=3"), (1, "(1+2)=2"), (0, "(3+4)=7"), (1, "(3+4)=7")]
    blind = TreeJudge(ExactReader(ARITHMETIC, 1))
    deeper = "(((0+1)+2)*(3+4))"  # its left part is of depth 2

    def asked(said: list[tuple[int | None, str]]) -> float:
        case = Case(Question(deeper, ("1", "4"), 0, 3), tuple(Statement(side, text) for side, text in said))
        return float(blind.log_odds([case])[0])

    left: list[tuple[int | None, str]] = [(side, text.replace("(1+2)", "((0+1)+2)")) for side, text in both]
    assert abs(asked(left)) < 0.7
    assert asked([*left, (None, "((0+1)+2)=3")]) > asked(left) + 2
    assert asked([(1, "((0+1)+2)=2"), (1, "(3+4)=7")]) < -2  # uncontradicted, it is believed


def test_quotes_point_without_a_word() -> None:
    assert odds((0, "(1+2)"), (1, "(3+4)"), limit=1) > 3


def test_odds_turn_round_with_the_answers() -> None:
    said = ((None, "(1+2)=3"), (None, "(3+4)=7"))
    assert np.isclose(odds(*said, limit=1), -odds(*said, limit=1, answers=("4", "1")))
