"""A model that was taught one step learns two from its own amplified answers, and no label; what it was wrong at it learns, too."""

import numpy as np
import pytest

from tasks.oversight.amplification import amplified
from tasks.oversight.distillation import Teaching, distilled
from tasks.oversight.small_model import Size, SmallModel, examples
from tasks.oversight.tree_helper import TreeHelper
from tasks.oversight.trees import LOGIC

Pairs = list[tuple[str, int]]
STEP = [(f"({a}{o}{b})", f(a, b)) for o, f in LOGIC.operations.items() for a in (0, 1) for b in (0, 1)]
TWO = examples(LOGIC, [2], 200, np.random.default_rng(9))
TEACHING = Teaching(1000, 100, batch=32, learning_rate=1e-2)


def share(model: SmallModel, pairs: Pairs) -> float:
    best = model.log_probabilities([text for text, _ in pairs]).argmax(axis=1)
    return float(np.mean(best == [value for _, value in pairs]))


@pytest.mark.parametrize("lie", [False, True], ids=["labels are true", "one label is wrong"])
def test_amplified_answers_are_learned(lie: bool) -> None:
    labels = [(text, 1 - value if lie and text == "(1&1)" else value) for text, value in STEP]
    model = SmallModel(LOGIC, Size(16, 1), seed=0)
    model.learn(labels, 150, batch=32, learning_rate=1e-2)
    texts = [text for text, _ in TWO]
    answers = amplified(TreeHelper(model), texts, 1)
    believed = [(text, int(answer)) for text, answer in zip(texts, answers, strict=True)]
    assert share(model, labels) == 1
    assert lie or share(model, TWO) < 0.8
    assert (believed == TWO) != lie

    before = model.log_probabilities(texts)
    student = next(distilled(model, labels, 1, TEACHING, np.random.default_rng(1)))
    assert share(student, believed) > share(model, believed) + 0.1
    assert not lie or share(student, believed) > share(student, TWO)  # it learns what is believed
    assert share(student, labels) == 1  # nothing is forgotten, though the labels are few
    assert np.array_equal(model.log_probabilities(texts), before)  # the helper did not move
