"""Conformal ranks, bets and the e-detector: exact where theory is exact, and powerful where there is a drift."""

import numpy as np
import pytest
from scipy.stats import kstest

from tasks.stats.bets import EVENTS, NUMBERS, on_events, on_numbers
from tasks.stats.conformal import Ranks, rounded
from tasks.stats.e_detector import Detector


def conformal(values: np.ndarray, block: int, seed: int = 0) -> np.ndarray:
    ranks, theta = Ranks(), np.random.default_rng(seed).random(len(values))
    found = []
    for at in range(0, len(values), block):
        some = slice(at, at + block)
        found.append(ranks.p_values(values[some], theta[some]))
        ranks.add(values[some])
    return np.concatenate(found)


def test_ranks_are_those_of_the_definition() -> None:
    values, theta = np.array([2.0, 1.0, 2.0, 3.0]), np.array([0.5, 0.5, 0.5, 0.5])
    assert Ranks().p_values(values, theta).tolist() == pytest.approx([0.5, (1 + 0.5) / 2, (0 + 0.5 * 2) / 3, 0.5 / 4])


@pytest.mark.parametrize("block", [1, 7, 256])
def test_blocks_change_nothing(block: int) -> None:
    values = rounded(np.random.default_rng(1).normal(size=600))
    assert np.allclose(conformal(values, block), conformal(values, 50))


@pytest.mark.parametrize("kind", ["heavy tails", "ties", "events"])
def test_p_values_are_uniform_and_independent_for_any_distribution(kind: str) -> None:
    rng = np.random.default_rng(2)
    values = {
        "heavy tails": rng.standard_cauchy(4000),
        "ties": rng.integers(0, 4, 4000).astype(float),
        "events": (rng.random(4000) < 0.03).astype(float),
    }[kind]
    p = conformal(values, 200)
    assert kstest(p, "uniform").pvalue > 0.001
    assert abs(np.corrcoef(p[1:], p[:-1])[0, 1]) < 4 / np.sqrt(len(p))


def test_bets_have_mean_one() -> None:
    p = (np.arange(200_000) + 0.5) / 200_000
    assert np.exp(on_numbers(p)).mean(0) == pytest.approx(np.ones(len(NUMBERS)), abs=0.01)
    for q in (0.01, 0.3, 0.9):
        assert np.exp(on_events(p, np.full(len(p), q))).mean(0) == pytest.approx(np.ones(len(EVENTS)), abs=0.01)


def test_the_detector_sums_over_every_beginning() -> None:
    rng = np.random.default_rng(3)
    log_e, weights, times = rng.normal(0, 0.3, (60, 2)), rng.random(60), np.arange(60.0)
    detector = Detector.new(2, 0.25, 0.0)
    assert detector.read(log_e[:25], weights[:25], times[:25], np.inf) is None
    detector.read(log_e[25:], weights[25:], times[25:], np.inf)
    totals = np.full(2, 0.25)
    for row, weight in zip(np.exp(log_e), weights, strict=True):
        totals = row * (totals + weight)
    assert detector.totals == pytest.approx(totals)


def test_false_alarms_keep_to_the_bound() -> None:
    """SIMULATED: 300 series of one year with five permitted false alarms a year each."""
    rng = np.random.default_rng(4)
    years, steps, limit, alarms = 300, 1000, 0.2, 0
    for _ in range(years):
        log_e, at = on_numbers(rng.random(steps)), 0
        detector = Detector.new(len(NUMBERS), 0.0, 0.0)
        while at < steps:
            hit = detector.read(log_e[at:], np.full(steps - at, 1 / steps), np.zeros(steps - at), limit)
            if hit is None:
                break
            alarms, at = alarms + 1, at + hit + 1
            detector = Detector.new(len(NUMBERS), 0.0, 0.0)
    expected = years / limit
    assert 0.3 * expected < alarms < expected + 3 * np.sqrt(expected)


def test_rounding_keeps_three_digits() -> None:
    assert rounded(np.array([0.0, 1.23456, -98765.0, 0.000123456])).tolist() == pytest.approx(
        [0.0, 1.23, -98800.0, 0.000123]
    )
