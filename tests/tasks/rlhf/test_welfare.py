"""Rules by which heads become one score, against values worked out by hand."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tasks.rlhf.welfare import combined, declare_rule, rules

SCORES = torch.tensor([[1.0, -1.0, 3.0], [0.5, 0.5, 0.5], [-2.0, 4.0, 0.0]])
WEIGHTS = torch.tensor([0.5, 0.3, 0.2])


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("utilitarian", [0.5 - 0.3 + 0.6, 0.5, -1.0 + 1.2]),
        ("maximin", [-1.0, 0.5, -2.0]),
        (
            "nash",
            [
                0.5 * log_sigmoid(1) + 0.3 * log_sigmoid(-1) + 0.2 * log_sigmoid(3),
                log_sigmoid(0.5),
                0.5 * log_sigmoid(-2) + 0.3 * log_sigmoid(4) + 0.2 * log_sigmoid(0),
            ],
        ),
        ("quantile", [1.0, 0.5, -2.0]),  # half of the weight lies at or below: of −1 (.3), 1 (.8), 3 in the first row
    ],
)
def test_hand_worked(rule: str, expected: list[float]) -> None:
    torch.testing.assert_close(rules(0.5)[rule](SCORES, WEIGHTS), torch.tensor(expected), rtol=1e-6, atol=1e-6)


def test_quantiles_go_from_the_worst_to_the_best() -> None:
    low, high = (rules(q)["quantile"](SCORES, WEIGHTS) for q in (0.01, 0.99))
    torch.testing.assert_close(low, SCORES.amin(1))
    torch.testing.assert_close(high, SCORES.amax(1))


def test_a_head_without_weight_has_no_say() -> None:
    weights = torch.tensor([1.0, 0.0, 1.0])
    for name, rule in rules(0.25).items():
        changed = SCORES.clone()
        changed[:, 1] = -100.0
        torch.testing.assert_close(rule(changed, weights), rule(SCORES, weights), msg=name)


def test_without_a_declared_rule_scores_stay_as_they_are() -> None:
    model: Any = SimpleNamespace(config=SimpleNamespace(head_weights=[0.5, 0.3, 0.2]))
    declare_rule(model, "utilitarian", 0.25, distribution=False)
    assert combined(SCORES, model.config) is SCORES
    declare_rule(model, "maximin", 0.25, distribution=False)
    assert combined(SCORES, model.config).tolist() == [-1.0, 0.5, -2.0]
