"""Strengths of several players from their games. P(i beats j) = σ(θ_i − θ_j) (Bradley and Terry 1952); a tie is half a
win for each (as in Elo). Maximum likelihood by the minorisation–maximisation of Hunter (2004), with half a win and half
a loss against everybody as a prior, so that strengths stay finite for one who never lost.
"""

import numpy as np

ELO = 400 / np.log(10)  # points for a unit of θ
PRIOR = 0.5


def strengths(wins: np.ndarray, tolerance: float = 1e-9, rounds: int = 10_000) -> np.ndarray:
    """(m,) θ with mean 0, from `wins` (m, m): how often the row beat the column, ties as halves."""
    counted = wins + PRIOR * (1 - np.eye(len(wins)))
    games = counted + counted.T
    won = counted.sum(1)
    power = np.ones(len(wins))
    for _ in range(rounds):
        fresh = won / (games / (power[:, None] + power[None, :])).sum(1)
        fresh /= np.exp(np.log(fresh).mean())
        if np.abs(np.log(fresh / power)).max() < tolerance:
            power = fresh
            break
        power = fresh
    return np.log(power)
