"""Bounds: the level is held, power is what the needed number promises, and noise decides nothing."""

import numpy as np
import pytest
from scipy.stats import norm

from tasks.stats.bound_tests import BROKEN, KEPT, UNDECIDED, Figure, decide


def measured(mean: float, n: int, rng: np.random.Generator, bound: float = 0.45) -> Figure:
    value, half = rng.normal(mean, 0.5 / np.sqrt(n)), norm.ppf(0.975) * 0.5 / np.sqrt(n)
    return Figure(value, value - half, value + half, 0.95, n, bound, at_least=True)


def test_the_family_wise_level_is_held_on_the_bound() -> None:
    rng = np.random.default_rng(0)
    families = [decide([measured(0.45, 400, rng) for _ in range(5)], 0.05, 0.8) for _ in range(2000)]
    for verdict in (KEPT, BROKEN):
        false = np.mean([any(d.verdict == verdict for d in family) for family in families])
        assert false < 0.065


def test_the_needed_number_gives_the_power() -> None:
    rng = np.random.default_rng(1)
    (decision,) = decide([Figure(0.5, 0.4, 0.6, 0.95, 96, 0.45, at_least=True)], 0.05, 0.8)
    assert decision.verdict == UNDECIDED and decision.needed is not None
    again = [decide([measured(0.5, decision.needed, rng)], 0.05, 0.8)[0].verdict == KEPT for _ in range(2000)]
    assert np.mean(again) == pytest.approx(0.8, abs=0.04)


def test_upper_bounds_are_turned_round_and_a_figure_on_the_bound_has_no_number() -> None:
    high, low = Figure(0.3, 0.25, 0.35, 0.95, 100, 0.1, False), Figure(0.01, -0.02, 0.03, 0.95, 100, 0.1, False)
    assert [d.verdict for d in decide([high, low], 0.05, 0.8)] == [BROKEN, KEPT]
    assert decide([Figure(0.1, 0.0, 0.2, 0.95, 50, 0.1, False)], 0.05, 0.8)[0].needed is None
