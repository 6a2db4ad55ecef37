"""Strengths are recovered from games, and those who never lost stay finite."""

import numpy as np

from tasks.stats.bradley_terry import strengths


def test_strengths_are_recovered() -> None:
    rng = np.random.default_rng(0)
    true = np.array([1.0, 0.3, -0.2, -1.1])
    wins = np.zeros((4, 4))
    for i in range(4):
        for j in range(i):
            won = rng.binomial(4000, 1 / (1 + np.exp(true[j] - true[i])))
            wins[i, j], wins[j, i] = won, 4000 - won
    assert np.abs(strengths(wins) - true).max() < 0.08


def test_all_wins_are_finite_and_ordered() -> None:
    theta = strengths(np.array([[0, 50, 50], [0, 0, 50], [0, 0, 0]], dtype=float))
    assert np.isfinite(theta).all() and theta[0] > theta[1] > theta[2]
    assert abs(theta.sum()) < 1e-6
