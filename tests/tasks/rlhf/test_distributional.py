"""Distributions of utility: against values by hand and scipy's, and on SIMULATED people of two groups whom nobody tells apart."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm, t

from tasks.evals.uncertainty import auroc
from tasks.rlhf.distributional import SCALE, explained, normal_pairs, normal_quantile, spread, standardised
from tasks.rlhf.losses import bradley_terry

TOPICS, PAIRS, STEPS = 30, 3000, 80
CONTESTED = np.arange(TOPICS) < TOPICS // 2


def test_by_hand_and_by_integration() -> None:
    """N(1, 2²) against N(0, 1²): Δ ~ N(1, 5), so that P = Φ(1/√5); and as the integral of what each is worth."""
    log = [math.log(2 / SCALE), math.log(1 / SCALE)]
    scores = torch.tensor([[[1.0, log[0]], [0.0, log[1]]]], dtype=torch.float64)
    torch.testing.assert_close(spread(scores[0, :, 1]), torch.tensor([2.0, 1.0], dtype=torch.float64))
    grid = np.linspace(-12, 12, 20001)
    better = np.sum(norm.pdf(grid, 1, 2) * norm.cdf(grid, 0, 1)) * (grid[1] - grid[0])
    assert better == pytest.approx(norm.cdf(1 / math.sqrt(5)), abs=1e-6)
    assert normal_pairs(scores).item() == pytest.approx(-math.log(better), abs=1e-5)
    weighted = normal_pairs(scores, weight=torch.tensor([[0.5]]), label_smoothing=0.1).item()
    assert weighted == pytest.approx(-0.5 * (0.9 * math.log(better) + 0.1 * math.log(1 - better)), abs=1e-5)
    np.testing.assert_allclose(normal_quantile(scores[0], 0.1), norm.ppf(0.1, [1, 0], [2, 1]), rtol=1e-6)
    assert explained(scores[0]) == pytest.approx(0.25 / (0.25 + 2.5))


def test_pairs_of_a_ranking_count_in_their_order() -> None:
    scores, weight = torch.randn(3, 3, 2, generator=torch.Generator().manual_seed(0)), torch.rand(3, 3)
    one_by_one = [
        weight[i, k] * -norm.logcdf(standardised(scores[i, a][None], scores[i, b][None]).item())
        for i in range(3)
        for k, (a, b) in enumerate([(0, 1), (0, 2), (1, 2)])
    ]
    assert normal_pairs(scores, weight=weight).item() == pytest.approx(float(np.mean(one_by_one)), rel=1e-4)


def test_without_spreads_it_begins_as_bradley_terry_and_only_the_ratio_counts() -> None:
    means = torch.tensor([[0.05, 0.0], [-0.1, 0.0]])
    equal = torch.stack([means, torch.zeros_like(means)], -1)
    assert normal_pairs(equal).item() == pytest.approx(bradley_terry(*means.T).item(), abs=1e-5)
    scaled = torch.stack([3 * means, torch.full_like(means, math.log(3))], -1)
    torch.testing.assert_close(normal_pairs(scaled), normal_pairs(equal))


def test_the_gradient_is_finite_where_a_pair_is_hopeless() -> None:
    scores = torch.tensor([[[-40.0, 0.0], [40.0, 0.0]]], requires_grad=True)
    normal_pairs(scores).backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None and torch.isfinite(scores.grad).all()


def learned(divided: bool, seed: int) -> tuple[np.ndarray, float]:
    """(σ of every topic, r²) from single votes of two equally large groups, by a model that knows topic, stance and quality.

    All want quality, 0 to 6. Of the topics the first half is contested, if `divided`: there one group wants a stance, −4 to 4, and the
    other its opposite; elsewhere nobody minds it. Votes have logistic noise.
    """
    rng = np.random.default_rng(seed)
    topic, stance, quality = (
        rng.integers(TOPICS, size=PAIRS),
        rng.uniform(-4, 4, (PAIRS, 2)),
        rng.uniform(0, 6, (PAIRS, 2)),
    )
    group = rng.choice([-1, 1], PAIRS) * (divided & CONTESTED[topic])
    utility = group[:, None] * stance + quality
    first = rng.random(PAIRS) < 1 / (1 + np.exp(utility[:, 1] - utility[:, 0]))
    order = np.where(first[:, None], [0, 1], [1, 0])
    stances, qualities = (torch.tensor(np.take_along_axis(x, order, 1)).float() for x in (stance, quality))
    taste, worth, log = torch.zeros(TOPICS), torch.zeros(()), torch.zeros(TOPICS)
    adam = torch.optim.Adam([x.requires_grad_() for x in (taste, worth, log)], 0.05)
    about = torch.from_numpy(topic)
    for _ in range(STEPS):
        adam.zero_grad()
        mean = worth * qualities + taste[about][:, None] * stances
        scores = torch.stack([mean, log[about][:, None].expand(-1, 2)], -1)
        normal_pairs(scores).backward()  # type: ignore[no-untyped-call]
        adam.step()
    return spread(log.detach()).numpy(), explained(scores.detach().flatten(0, 1))


def student(values: list[float]) -> tuple[float, float]:
    """Student's interval of the mean; a single point of equal values."""
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return float(np.mean(values) - half), float(np.mean(values) + half)


def test_spreads_are_large_where_two_hidden_groups_differ_and_nowhere_else() -> None:
    """SIMULATED; Student's intervals over five seeds."""
    areas: dict[bool, list[float]] = {True: [], False: []}
    shares: dict[bool, list[float]] = {True: [], False: []}
    for divided in (True, False):
        for seed in range(5):
            sigma, share = learned(divided, seed)
            areas[divided].append(auroc(sigma, CONTESTED))
            shares[divided].append(share)
    assert student(areas[True])[0] > 0.95
    low, high = student(areas[False])
    assert low < 0.5 < high
    assert student(shares[True])[1] < student(shares[False])[0] - 0.1
