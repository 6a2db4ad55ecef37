import math
from itertools import combinations, permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.rlhf.losses import bradley_terry, plackett_luce, ranked_pairs

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


def test_weights_of_rankings_by_hand() -> None:
    """Each ranking's own likelihood times its weight; a ranking that weighs nothing leaves no gradient."""
    scores = torch.tensor([[0.5, -0.2, 1.0], [2.0, 0.0, -1.0]], requires_grad=True)
    alone = [plackett_luce(row[None]).item() for row in scores]
    loss = plackett_luce(scores, weight=torch.tensor([0.0, 1.5]))
    assert loss.item() == pytest.approx(1.5 * alone[1] / 2, rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert not gradient[0].any()
    assert gradient[1].all()


def test_every_pair_of_a_ranking_by_hand() -> None:
    """K = 3: the mean of the three pairs' losses, each with its weight and margin (Ouyang et al. 2022, equation 1)."""
    s = [1.2, 0.4, -0.5]
    weight, margin = [0.5, 2.0, 1.0], [0.0, 0.3, 0.0]
    loss = ranked_pairs(torch.tensor([s]), margin=torch.tensor([margin]), weight=torch.tensor([weight]))
    by_hand = [
        w * math.log1p(math.exp(-(s[i] - s[j] - m)))
        for (i, j), w, m in zip(combinations(range(3), 2), weight, margin, strict=True)
    ]
    assert loss.item() == pytest.approx(sum(by_hand) / 3, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_every_pair_of_two_is_bradley_terry_to_the_bit(smoothing: float) -> None:
    draw = torch.Generator().manual_seed(0)
    scores, margin, weight = (torch.rand(16, n, generator=draw) for n in (2, 1, 1))
    found = ranked_pairs(scores, margin=margin, weight=weight, label_smoothing=smoothing)
    given = {"margin": margin[:, 0], "weight": weight[:, 0], "label_smoothing": smoothing}
    assert torch.equal(found, bradley_terry(scores[:, 0], scores[:, 1], **given))
    torch.testing.assert_close(plackett_luce(scores, weight=weight[:, 0]), ranked_pairs(scores, weight=weight))


def test_both_losses_of_rankings_are_least_at_the_true_utilities() -> None:
    """Rankings drawn from Plackett–Luce with known utilities (by Gumbel's noise): both losses find these again."""
    utilities = torch.tensor([1.0, 0.3, -0.2, -1.1])
    uniform = torch.rand(20000, 4, generator=torch.Generator().manual_seed(3))
    order = (utilities - (-uniform.log()).log()).argsort(1, descending=True)
    for loss in (plackett_luce, ranked_pairs):
        free = torch.zeros(4, requires_grad=True)
        optimizer = torch.optim.LBFGS([free], max_iter=50, line_search_fn="strong_wolfe")

        def closure(loss=loss, free=free, optimizer=optimizer) -> torch.Tensor:
            optimizer.zero_grad()
            value = loss(free[order])
            value.backward()
            return value

        optimizer.step(closure)
        found = free.detach() - free.detach().mean()
        assert (found - utilities).abs().max() < 0.05
