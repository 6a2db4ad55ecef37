"""What the whole crowd leans to a little: the response shown first, the longer one.

A vote's log odds are those of its item plus Σ_k δ_k c_k, with c_k = 1 where cue k speaks for a, −1 where it speaks for b,
0 where it is unknown. One Newton step of logistic regression from δ = 0, which is enough as tastes are mild:

    Σ_l (Σ_v w_v p_v (1 − p_v) c_vk c_vl) δ_l = Σ_v w_v (y_v − p_v) c_vk

(McCullagh and Nelder 1989, §4.4), p_v from the others' votes on the item. Who follows the taste of all is no suspect for
it, and what the taste explains is not held against their reading. O(votes × cues²).
"""

from dataclasses import dataclass

import numpy as np

from tasks.stats.ballots import UNKNOWN, Ballots, sums

MOST = 0.5  # of log odds; what leans more is no mild taste, and not explained away
WEAK = 1.0  # information that stands for δ = 0: decides where there are nearly no votes


@dataclass(frozen=True)
class Tastes:
    """`combination`: (votes,) int8 code of what the cues say; `shift`: (combinations,) log odds for a."""

    combination: np.ndarray
    shift: np.ndarray


def cue_signs(ballots: Ballots) -> np.ndarray:
    """(votes, cues) int8: 1, −1, or 0 where unknown."""
    cues = [cue for cue in ballots.cues.values() if cue is not None]
    signs = [np.where(cue == UNKNOWN, 0, 2 * cue - 1).astype(np.int8) for cue in cues]
    return np.stack(signs, axis=1) if signs else np.zeros((len(ballots.who), 0), dtype=np.int8)


def crowd_tastes(signs: np.ndarray, rows: np.ndarray, residual: np.ndarray, weight: np.ndarray) -> Tastes:
    """From the votes `rows`: their `residual`, choice minus its probability p, and `weight`."""
    c = signs[rows].astype(np.float64)
    p = np.abs(residual)
    information = weight * p * (1 - p)
    delta = np.linalg.solve(c.T @ (c * information[:, None]) + WEAK * np.eye(c.shape[1]), c.T @ (weight * residual))
    delta = np.clip(delta, -MOST, MOST)
    code = np.zeros(len(signs), dtype=np.int8)
    for column in signs.T:
        code = code * 3 + (column + 1)
    present = np.flatnonzero(sums(code, None, 3 ** signs.shape[1]))
    place = np.zeros(int(present.max(initial=0)) + 1, dtype=np.int8)
    place[present] = np.arange(len(present))
    first = [int(np.argmax(code == one)) for one in present]
    return Tastes(place[code], signs[first].astype(np.float64) @ delta)
