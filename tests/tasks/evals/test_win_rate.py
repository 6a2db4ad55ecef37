"""Win rates on cases whose answer is known."""

import numpy as np
import pytest

from tasks.evals.win_rate import comparisons, length_controlled, win_rate

DRAWN = {"level": 0.95, "resamples": 400, "seed": 3}


def test_comparisons_pair_every_response_with_every_other_of_the_same_prompt() -> None:
    outcomes, prompts = comparisons(np.array([1.0, 2.0, 9.0, 9.0]), np.array([1.0, 3.0, 0.0, 9.0]), 2)
    assert outcomes.tolist() == [0.5, 0.0, 1.0, 0.0, 1.0, 0.5, 1.0, 0.5]
    assert prompts.tolist() == [0] * 4 + [1] * 4


def test_equal_models_win_half_and_the_interval_says_so() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(40):
        rate = win_rate(rng.normal(size=200), rng.normal(size=200), 2, **DRAWN)
        inside += rate.low <= 0.5 <= rate.high
    assert inside >= 34


def test_a_win_by_length_alone_disappears_at_equal_length() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.normal(30, 8, 800) + 10, rng.normal(30, 8, 800)
    scores = tuple(0.2 * length + rng.normal(size=800) for length in lengths)
    plain = win_rate(*scores, 2, **DRAWN)
    controlled = length_controlled(*scores, lengths, 2, **DRAWN)
    assert plain.low > 0.6
    assert controlled.low <= 0.5 <= controlled.high


def test_a_real_win_stays_at_equal_length() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.normal(30, 8, 800), rng.normal(30, 8, 800)
    controlled = length_controlled(rng.normal(0.8, 1, 800), rng.normal(size=800), lengths, 2, **DRAWN)
    assert controlled.value == pytest.approx(0.714, abs=0.05)  # Φ(0.8/√2)
