"""Sequential test on golden items: who fails them, at the earliest item at which it can be said.

The null is that an annotator is right on golden items with probability at least p₀. Against it, wrong rates uniform
below ½: after k right of n,

    Λ_n = 2 ∫₀^½ r^k (1 − r)^(n−k) dr / (p₀^k (1 − p₀)^(n−k))

is an e-process, so p = 1 / max_n Λ_n holds at any time of looking (Wald 1945; Ville's inequality; Johari et al. 2022
for always-valid p-values): the test may be looked at after each item. O(golden votes).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, betaln

from tasks.stats.golden import LEAST_ACCURACY


@dataclass(frozen=True)
class Sequential:
    """`p_value`: (annotators,) always valid; `decided_at`: the first golden item at which it was below the level, 0
    if never."""

    p_value: np.ndarray
    decided_at: np.ndarray


def sequential_test(who: np.ndarray, right: np.ndarray, n_annotators: int, level: float) -> Sequential:
    """`who`, `right`: (golden votes,) in the order in which they were cast."""
    order = np.argsort(who, kind="stable")
    person, correct = who[order], right[order].astype(np.float64)
    counts = np.bincount(person, minlength=n_annotators)
    first = np.cumsum(counts) - counts
    n = np.arange(len(person)) - first[person] + 1
    running = np.cumsum(correct)
    k = running - np.r_[0.0, running][first[person]]
    with np.errstate(divide="ignore"):
        mixed = np.log(2) + betaln(k + 1, n - k + 1) + np.log(betainc(k + 1, n - k + 1, 0.5))
    log_ratio = mixed - k * np.log(LEAST_ACCURACY) - (n - k) * np.log(1 - LEAST_ACCURACY)
    best = np.zeros(n_annotators)
    np.maximum.at(best, person, log_ratio)
    decided = np.full(n_annotators, np.iinfo(np.int64).max)
    sure = log_ratio >= -np.log(level)
    np.minimum.at(decided, person[sure], n[sure])
    return Sequential(np.exp(-best), np.where(decided == np.iinfo(np.int64).max, 0, decided))
