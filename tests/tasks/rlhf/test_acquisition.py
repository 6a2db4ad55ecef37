"""Choice of pairs for labels: values by hand, and that noise is not taken for information."""

import math

import pytest
import torch

from tasks.rlhf.acquisition import best_pair, disagreement, information

SCORES = torch.tensor([[0.0, 1.0, 3.0], [0.0, -1.0, 3.0]], dtype=torch.float64)  # two members, three answers


def test_disagreement_is_the_variance_of_differences() -> None:
    values = disagreement(SCORES)
    assert values[0, 1] == pytest.approx(1.0)  # differences −1 and 1
    assert values[0, 2] == pytest.approx(0.0)  # −3 and −3
    assert values[1, 2] == pytest.approx(1.0)  # −2 and −4
    assert torch.equal(values, values.T)


def test_information_by_hand() -> None:
    p = 1 / (1 + math.e)  # the members hold p and 1 − p, so that their mean is a coin's
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    values = information(SCORES)
    assert values[0, 1] == pytest.approx(math.log(2) - entropy)
    assert values[0, 2] == pytest.approx(0.0, abs=1e-12)


def test_a_pair_that_all_are_unsure_of_tells_nothing() -> None:
    scores = torch.zeros(5, 2, dtype=torch.float64)
    assert information(scores).abs().max() < 1e-12
    assert disagreement(scores).abs().max() < 1e-12


def test_saturated_scores_are_finite() -> None:
    assert torch.isfinite(information(torch.tensor([[0.0, 900.0], [0.0, -900.0]], dtype=torch.float64))).all()


def test_the_best_pair_is_among_the_allowed() -> None:
    values = disagreement(SCORES)
    allowed = torch.ones(3, 3, dtype=torch.bool)
    assert best_pair(values, allowed)[:2] == (0, 1)
    allowed[0, 1] = allowed[1, 0] = False
    assert best_pair(values, allowed) == (1, 2, pytest.approx(1.0))
    with pytest.raises(ValueError, match="no pair"):
        best_pair(values, torch.eye(3, dtype=torch.bool))
