"""A helper takes a written tree to its parts, and puts together what was stated of them."""

import pytest

from tasks.oversight.tree_helper import TreeHelper
from tasks.oversight.trees import ARITHMETIC
from tests.tasks.oversight.conftest import ExactReader

HELPER = TreeHelper(ExactReader(ARITHMETIC, 1))
DEEP = "(((1+2)*3)-(4+5))"  # 0


def test_parts_are_the_trees_own_and_a_step_has_none() -> None:
    assert HELPER.parts([DEEP, "(1+2)", "7"]) == [("((1+2)*3)", "(4+5)"), (), ()]
    with pytest.raises(ValueError, match="no closing bracket"):
        HELPER.parts(["(1+2"])


def test_an_answer_follows_from_what_was_stated_right_or_wrong() -> None:
    said = [HELPER.stated("(4+5)", "9"), HELPER.stated("((1+2)*3)", "9")]
    wrong = [HELPER.stated("((1+2)*3)", "2"), HELPER.stated("(4+5)", "9")]
    assert HELPER.composed([DEEP, DEEP, "(4+5)"], [said, wrong, ()]) == ["0", "3", "9"]
