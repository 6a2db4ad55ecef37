"""The length expert on pairs whose dependence on length is known."""

import numpy as np
import pytest
from scipy.special import expit

from tasks.stats.length_expert import STEEPEST, length_expert


@pytest.mark.parametrize("true", [-1.5, 0.0, 1.5])
def test_finds_the_slope_that_made_the_labels(true: float) -> None:
    rng = np.random.default_rng(1)
    gaps = rng.normal(0, 30, 20_000)
    scale = np.sqrt((gaps**2).mean())
    signed = np.where(rng.random(len(gaps)) < expit(true * np.tanh(gaps / scale)), gaps, -gaps)
    expert = length_expert(signed, np.ones(len(gaps)))
    assert expert.slope == pytest.approx(true, abs=0.1)
    assert expert.scale == pytest.approx(scale)
    odds = expert.log_odds(np.array([-20.0, 0.0, 20.0]))
    assert odds == pytest.approx([-odds[2], 0.0, expert.slope * np.tanh(20 / scale)])


def test_weights_count_and_extremes_are_bounded() -> None:
    gaps = np.array([10.0, 10.0, -10.0])
    assert length_expert(gaps, np.array([1.0, 1.0, 2.0])).slope == pytest.approx(0, abs=1e-9)
    assert length_expert(gaps, np.array([1.0, 0.0, 3.0])).slope < 0
    assert length_expert(gaps[:2], np.ones(2)).slope == STEEPEST
    assert length_expert(np.zeros(3), np.ones(3)).log_odds(np.zeros(3)).tolist() == [0, 0, 0]
