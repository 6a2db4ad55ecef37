"""Wald's sequential probability ratio test of one annotator on golden items: reads, or inverts, or go on asking.

H₀: right with probability p₀; H₁: right with 1 − p₀, as somebody who turns answers round is. After k right of n,

    log Λ_n = (n − 2k) log(p₀ / (1 − p₀)),   fails at log Λ ≥ log((1 − β) / α),   passes at log Λ ≤ log(β / (1 − α))

Wald (1945), Sequential Tests of Statistical Hypotheses: errors are at most about α and β, and no test with these errors
needs fewer items on average (Wald and Wolfowitz 1948). O(golden votes).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Verdict = Literal["passes", "fails", "go on"]


@dataclass(frozen=True)
class Sprt:
    """`verdict`, and `decided_at`: the golden item that decided, 0 if none did; `more`: items that are expected to be
    needed yet, if the annotator goes on as an honest one would."""

    verdict: Verdict
    decided_at: int
    more: int


def sprt(right: np.ndarray, accuracy: float, alpha: float, beta: float) -> Sprt:
    """`right`: (golden votes,) bool, in the order in which they were cast; `accuracy`: p₀, above ½."""
    step = np.log(accuracy / (1 - accuracy))
    path = np.cumsum(np.where(right, -step, step))
    fail, passing = np.log((1 - beta) / alpha), np.log(beta / (1 - alpha))
    over = np.flatnonzero((path >= fail) | (path <= passing))
    if len(over):
        at = int(over[0])
        return Sprt("fails" if path[at] >= fail else "passes", at + 1, 0)
    left = passing - (path[-1] if len(path) else 0.0)
    return Sprt("go on", 0, int(np.ceil(-left / ((2 * accuracy - 1) * step))))
