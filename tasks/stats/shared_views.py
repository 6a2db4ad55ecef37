"""People whom the crowd's answers do not explain, and who agree among themselves: another view, and no guessing.

Somebody who guesses, and somebody who judges by another measure than the crowd, both agree with the crowd hardly more than
chance. The difference is what they do where two of them meet. For each suspect j, choices are regressed on what the crowd
holds of the item and on every cue (which response was first, longer, …):

    x_v = α_j t_v + β_j (1 − t_v) + Σ_c γ_jc cue_cv + r_v,       ρ_v = r_v / sd(r of j)

so that nobody is alike because they take the first response, or say a more often. Given the item, guesses are independent:

    A_j = Σ_v ρ_v Σ_{k≠j} p_k ρ_k,  the others' residuals on the item of v,   has mean 0 and variance V_j = Σ ρ_v² Σ p_k² ρ_k²

For one who shares a view with those of the others who hold it, each with probability p_k, the mean is c N_j, with N_j = Σ_v Σ p_k
and c the correlation of two who hold the view. First Σ A_j is tested at p_k = 1. If it is significant, EM gives c, the share π of
suspects who hold the view, and p_j from the likelihood ratio (A_j c N_j − c² N_j² / 2) / V_j; it begins at the leading eigenvector of
the agreement, so that of several views the strongest comes first. The suspects that are left are tested again without its holders.

The independence is that of Dawid and Skene (1979); that raters fall into schools of thought, where disagreement is no
error, is Tian and Zhu (2012), "Learning from crowds in the presence of schools of thought". Groups that agree *more* than
careful people can are `collusion.py`'s. O(votes of suspects) a step.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtr

from tasks.stats.ballots import Ballots

RIDGE = 1e-3
POWER_STEPS = 50
STEPS = 100
HOLDS = 1 / 3  # as much of a view as its surest holder has, at the start


@dataclass(frozen=True)
class Meetings:
    """Votes of suspects: `item` codes, `who` (rows,) numbers of suspects, `residual` (rows,) standardised; `n` suspects."""

    item: np.ndarray
    who: np.ndarray
    residual: np.ndarray
    n: int

    def agreement(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(A, V, N), (suspects,) each, of weights p (suspects,)."""
        p = weights[self.who]
        mine = self.residual * p
        others = [np.bincount(self.item, m)[self.item] - m for m in (mine, mine**2, p)]
        terms = (self.residual * others[0], self.residual**2 * others[1], others[2])
        a, v, met = (np.bincount(self.who, term, self.n) for term in terms)
        return a, np.maximum(v, 1e-9), met


def shared_views(
    b: Ballots, right: np.ndarray, suspects: np.ndarray, level: float, least: float
) -> Iterator[np.ndarray]:
    """Views, each as the probability (annotators,) that somebody holds it, which are significant at `level` and held by at
    least `least` of the `suspects` (annotators,) bool.

    `right`: (votes,) probability that a vote is right, by the others alone.
    """
    rows = np.flatnonzero(suspects[b.who] & ~b.on_golden)  # who knows these agrees on them, and is no view
    left = np.flatnonzero(suspects)
    while len(left) >= max(least, 2):
        who = np.searchsorted(left, b.who[rows])
        item = np.unique(b.item[rows], return_inverse=True)[1]
        holds = _holders(Meetings(item, who, _residuals(b, right, rows, who, len(left)), len(left)), level)
        if (holds > 0.5).sum() < max(least, 2):
            return
        view = np.zeros(b.n_annotators)
        view[left] = holds
        yield view
        left = left[holds <= 0.5]
        rows = rows[view[b.who[rows]] <= 0.5]


def _holders(met: Meetings, level: float) -> np.ndarray:
    """(suspects,) probability of holding the strongest view; 0 where the agreement of all is no more than chance."""
    a, v, _ = met.agreement(np.ones(met.n))
    if ndtr(-a.sum() / np.sqrt(2 * v.sum())) > level:  # every pair is in the sum twice
        return np.zeros(met.n)
    holds, share = _strongest(met), 0.5
    for _ in range(STEPS):
        a, v, n = met.agreement(holds)
        alike = max(float(holds @ a) / max(float(holds @ n), 1e-9), 0.0)
        before, holds = holds, expit(np.log(share / (1 - share)) + (a * alike * n - (alike * n) ** 2 / 2) / v)
        share = float(np.clip(holds.mean(), 1e-3, 1 - 1e-3))
        if np.abs(holds - before).max() < 1e-6:
            break
    return holds


def _strongest(met: Meetings) -> np.ndarray:
    """(suspects,) 1 for who holds much of what most of the agreement is about: its leading eigenvector."""
    weights = 1 + np.arange(met.n) / met.n  # not alike, or two views of a size would stay one
    for _ in range(POWER_STEPS):
        weights = met.agreement(weights)[0]
        weights = weights / max(float(np.abs(weights).max()), 1e-12)
    return np.where(np.sign(weights.sum()) * weights >= HOLDS, 1.0, 0.0)


def _residuals(b: Ballots, right: np.ndarray, rows: np.ndarray, who: np.ndarray, n: int) -> np.ndarray:
    """(rows,) standardised residuals of each suspect's choices, by least squares of their own."""
    x = b.choice[rows].astype(np.float64)
    t = np.where(x == 1, right[rows], 1 - right[rows]).astype(np.float64)
    cues = [np.where(c[rows] < 0, 0.0, 2.0 * c[rows] - 1) for c in b.cues.values() if c is not None]
    f = np.stack([t, 1 - t, *cues], axis=1)
    k = f.shape[1]
    gram, moment = np.zeros((n, k, k)), np.zeros((n, k))
    for i in range(k):
        moment[:, i] = np.bincount(who, f[:, i] * x, n)
        for j in range(i, k):
            gram[:, i, j] = gram[:, j, i] = np.bincount(who, f[:, i] * f[:, j], n)
    slopes = np.linalg.solve(gram + RIDGE * np.eye(k), moment[:, :, None])[:, :, 0]
    r: np.ndarray = x - (f * slopes[who]).sum(1)
    square, votes = np.bincount(who, r**2, n), np.bincount(who, minlength=n)
    scale = np.sqrt(square / np.maximum(votes - k, 1))
    standardised: np.ndarray = r / np.maximum(scale, 1e-6)[who]
    return standardised
