"""A reward model learns a judge's comparisons, and helps him with questions of a step more than he knows."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tasks.oversight.direct import Direct
from tasks.oversight.distillation import Teaching
from tasks.oversight.protocol import Participants
from tasks.oversight.recursive_reward import RecursiveReward
from tasks.oversight.small_model import Size, SmallModel
from tasks.oversight.tree_assistants import tree_assistants
from tasks.oversight.tree_helper import TreeHelper
from tasks.oversight.tree_judge import TreeJudge
from tasks.oversight.trees import ARITHMETIC, LOGIC, questions
from tests.tasks.oversight.conftest import ExactReader

TEACHING = Teaching(400, 120, batch=32, learning_rate=1e-2)


def test_what_a_judge_of_one_step_taught_lets_him_judge_two() -> None:
    judge = TreeJudge(ExactReader(LOGIC, 1))
    untrained = SmallModel(LOGIC, Size(16, 1), seed=1)
    first = next(tree_assistants(judge, untrained, TEACHING, np.random.default_rng(0)))
    asked = questions(LOGIC, 2, 100, np.random.default_rng(1))
    found = {
        name: protocol(asked, Participants(judge, assistant=assistant), np.random.default_rng(0)).right(asked).mean()
        for name, protocol, assistant in (
            ("alone", Direct(), None),
            ("level 1", RecursiveReward(), None),
            ("level 2", RecursiveReward(), TreeHelper(first)),
        )
    }
    assert found["alone"] == found["level 1"] == 0.5
    assert found["level 2"] == 1
    texts = ["(1&1)", "(1^1)"]
    assert first.log_probabilities(texts).argmax(axis=1).tolist() == [1, 0]
    assert not np.array_equal(first.log_probabilities(texts), untrained.log_probabilities(texts))


def test_a_judge_who_cannot_tell_teaches_nothing_wrong_and_his_errors_are_learned() -> None:
    class Contrary:
        """Prefers what is wrong."""

        def log_odds(self, cases: Any) -> np.ndarray:
            return -TreeJudge(ExactReader(LOGIC, 1)).log_odds(cases)

    untrained = SmallModel(LOGIC, Size(16, 1), seed=1)
    misled = next(tree_assistants(Contrary(), untrained, TEACHING, np.random.default_rng(0)))
    assert misled.log_probabilities(["(1&1)", "(1^1)", "(0|1)"]).argmax(axis=1).tolist() == [0, 1, 0]


def test_preferences_say_nothing_of_values_that_were_not_compared(asked: Callable[..., Any]) -> None:
    model = SmallModel(ARITHMETIC, Size(8, 1), seed=0)
    model.learn([("(1+2)", 3)], 30, batch=8, learning_rate=1e-2, rejected=[7])
    odds = model.log_probabilities(["(1+2)"])[0]
    assert odds[3] - odds[7] > 2
    assert abs(np.delete(odds, [3, 7]) - odds[[3, 7]].mean()).max() < odds[3] - odds[7]
