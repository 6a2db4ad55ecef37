"""Temperature and ECE on margins whose calibration is known, and on a table worked by hand."""

import numpy as np
import pytest
from scipy.special import expit

from tasks.stats.calibration import COLDEST, HOTTEST, reliability, temperature, temperature_interval

DRAWN = {"level": 0.95, "resamples": 100, "seed": 3}


def simulated(n: int, true: float, seed: int) -> np.ndarray:
    """Margins of a model that is calibrated at the temperature `true`."""
    rng = np.random.default_rng(seed)
    size = np.abs(rng.normal(0, 2, n))
    return np.where(rng.random(n) < expit(size / true), size, -size)


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_temperature_is_found_and_its_interval_covers_it(true: float) -> None:
    margins = simulated(20_000, true, 0)
    assert temperature(margins, np.ones(len(margins))) == pytest.approx(true, rel=0.08)
    covered = 0
    for seed in range(20):
        small = simulated(300, true, seed + 1)
        low, high = temperature_interval(small, np.ones(len(small)), **DRAWN)
        covered += low <= true <= high
    assert covered >= 16


def test_weights_are_repetitions() -> None:
    margins = np.array([1.0, 2.0, -0.5, -1.0, 0.3])
    weights = np.array([3.0, 1.0, 2.0, 0.0, 1.0])
    assert temperature(margins, weights) == pytest.approx(
        temperature(np.repeat(margins, weights.astype(int)), np.ones(7))
    )


def test_margins_without_a_minimum_give_the_ends() -> None:
    assert temperature(np.array([1.0, 0.4]), np.ones(2)) == pytest.approx(COLDEST)
    assert temperature(np.array([-1.0, 0.4]), np.ones(2)) == pytest.approx(HOTTEST)


def test_ece_by_hand() -> None:
    """Twenty pairs, ten bins of two. Confidence .8 everywhere; in five bins both are right, in five one of two:
    ECE = ½·|1 − .8| + ½·|.5 − .8| = .25. At twice the temperature confidence is σ(log 4 / 2) = 2/3:
    ½·|1 − 2/3| + ½·|.5 − 2/3| = .25."""
    margins = np.log(4) * np.array([1.0] * 10 + [1.0, -1.0] * 5)
    clusters = np.arange(20)
    found = reliability(margins, 1.0, clusters, **DRAWN)
    assert found.ece == pytest.approx(0.25)
    assert sorted(found.curve) == [pytest.approx((0.8, 0.5, 2))] * 5 + [pytest.approx((0.8, 1.0, 2))] * 5
    assert reliability(margins, 2.0, clusters, **DRAWN).ece == pytest.approx((1 / 3 + 1 / 6) / 2)


def test_overconfidence_shows_beyond_chance_and_scaling_takes_it_away() -> None:
    margins = simulated(4000, 3.0, 5)
    clusters = np.arange(len(margins))
    raw, scaled = (reliability(margins, t, clusters, **DRAWN) for t in (1.0, 3.0))
    assert raw.ece > raw.if_calibrated[2]
    assert raw.low > scaled.high
    assert scaled.ece <= scaled.if_calibrated[2]


def test_the_interval_covers_the_true_error() -> None:
    """True error of confidence σ(|Δ|) where σ(|Δ|/3) is right, from very many pairs."""
    size = np.abs(np.random.default_rng(9).normal(0, 2, 400_000))
    true = float((expit(size) - expit(size / 3)).mean())
    covered = 0
    for seed in range(40):
        found = reliability(simulated(600, 3.0, seed), 1.0, np.arange(600), **DRAWN)
        covered += found.low <= true <= found.high
    assert covered >= 34


def test_pairs_of_one_prompt_are_drawn_together() -> None:
    margins = np.repeat(simulated(100, 3.0, 4), 8)
    alone, together = (
        reliability(margins, 1.0, clusters, **DRAWN) for clusters in (np.arange(800), np.repeat(np.arange(100), 8))
    )
    assert together.high - together.low > 2 * (alone.high - alone.low)
