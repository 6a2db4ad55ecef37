import math
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.rlhf.losses import bradley_terry, plackett_luce

scores = st.lists(st.floats(-20, 20), min_size=1, max_size=8)


def test_value_by_hand() -> None:
    chosen, rejected = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])
    by_hand = [math.log1p(math.exp(-1)), math.log1p(math.exp(2))]
    assert bradley_terry(chosen, rejected).item() == pytest.approx(sum(by_hand) / 2, rel=1e-6)
    weighted = bradley_terry(chosen, rejected, weight=torch.tensor([0.5, 1.5]))
    assert weighted.item() == pytest.approx((0.5 * by_hand[0] + 1.5 * by_hand[1]) / 2, rel=1e-6)


def test_margin_asks_for_a_larger_difference() -> None:
    chosen, rejected, margin = torch.tensor([3.0]), torch.tensor([1.0]), torch.tensor([2.0])
    assert bradley_terry(chosen, rejected, margin=margin).item() == pytest.approx(math.log(2), rel=1e-6)


def test_label_smoothing_mixes_the_two_directions() -> None:
    a, b = torch.tensor([1.5]), torch.tensor([0.2])
    smooth = bradley_terry(a, b, label_smoothing=0.1)
    assert smooth.item() == pytest.approx(0.9 * bradley_terry(a, b).item() + 0.1 * bradley_terry(b, a).item(), rel=1e-6)


@given(scores)
@settings(deadline=None)
def test_gradient_is_the_probability_of_being_wrong(values: list[float]) -> None:
    """d loss / d chosen = −w · σ(rejected − chosen) / n (Bradley and Terry 1952)."""
    chosen = torch.tensor(values, requires_grad=True)
    rejected = torch.zeros(len(values), requires_grad=True)
    weight = torch.arange(len(values), dtype=torch.float32)  # the first row weighs nothing
    gradient, opposite = torch.autograd.grad(bradley_terry(chosen, rejected, weight=weight), [chosen, rejected])
    expected = -weight * torch.sigmoid(-chosen.detach()) / len(values)
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(opposite, -expected)


def test_bf16_scores_are_compared_in_fp32() -> None:
    chosen = torch.tensor([1.0], dtype=torch.bfloat16)
    loss = bradley_terry(chosen, torch.zeros(1, dtype=torch.bfloat16))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log1p(math.exp(-1)), rel=1e-6)


def test_plackett_luce_of_two_is_bradley_terry() -> None:
    scores = torch.randn(16, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(plackett_luce(scores), bradley_terry(scores[:, 0], scores[:, 1]))


def test_plackett_luce_by_hand_and_as_a_distribution() -> None:
    """P(a > b > c) = e^a/(e^a + e^b + e^c) · e^b/(e^b + e^c); over all orders the probabilities sum to 1."""
    a, b, c = 0.3, -1.0, 2.0
    scores = torch.tensor([a, b, c])
    e = scores.exp()
    expected = -torch.log(e[0] / e.sum() * e[1] / (e[1] + e[2]))
    torch.testing.assert_close(plackett_luce(scores[None]), expected)
    orders = torch.tensor(list(permutations(range(3))))
    total = sum(float((-plackett_luce(scores[order][None])).exp()) for order in orders)
    assert total == pytest.approx(1, abs=1e-6)
