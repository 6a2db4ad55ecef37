"""A model that was taught one step learns two from its own amplified answers, and no label."""

import numpy as np

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


def test_amplified_answers_are_learned_and_nothing_is_forgotten() -> None:
    model = SmallModel(LOGIC, Size(16, 1), seed=0)
    model.learn(STEP, 60, batch=32, learning_rate=1e-2)
    texts = [text for text, _ in TWO]
    answers = amplified(TreeHelper(model), texts, 1)
    assert share(model, STEP) == 1
    assert share(model, TWO) < 0.7
    assert [int(answer) for answer in answers] == [value for _, value in TWO]

    before = model.log_probabilities(texts)
    student = next(distilled(model, STEP, 1, TEACHING, np.random.default_rng(1)))
    assert share(student, TWO) > share(model, TWO) + 0.1
    assert share(student, STEP) == 1  # though the labels are twelve among a thousand
    assert np.array_equal(model.log_probabilities(texts), before)  # the helper did not move
