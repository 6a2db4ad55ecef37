"""Dawid and Skene's own example: 45 patients, graded 1 to 4 for their fitness for anaesthesia by five anaesthetists.

Table 1 of Dawid and Skene (1979), Applied Statistics 28(1), 20-28; the first anaesthetist saw each form three times, and
has the first three columns. Here graded 1 or worse, as votes are on two classes. The paper's estimates for four grades
have class 1 in .40 of the patients, and grade-1 patients called so by .89, .83, 1.00, .94 and 1.00 of the observers.
"""

import numpy as np
import pytest
from scipy.optimize import minimize

from tasks.stats.ballots import Ballots
from tasks.stats.dawid_skene import PRIOR, one_coin
from tasks.stats.full_dawid_skene import two_coin

GRADES = """
1111111 3334334 1122122 2223121 2223222 2223322 1222111 3333433 2222223 2322223 4444444 2223343 1111111 2223212 1211111
1112111 1111111 1111111 2222221 2221322 2222222 2222221 2223222 2212222 1111111 1111111 2322222 1111111 1111111 1121121
1111111 3333233 1111111 2222222 2223232 4334343 2212232 2323233 3333432 1111111 1111111 1212111 2322222 1211111 2222222
"""
OBSERVER = np.tile(np.array([0, 0, 0, 1, 2, 3, 4], dtype=np.int32), 45)
PATIENT = np.repeat(np.arange(45, dtype=np.int32), 7)
FIT = (np.array([int(g) for row in GRADES.split() for g in row]) == 1).astype(np.int8)
VOTES = Ballots(OBSERVER, PATIENT, FIT, np.full(45, -1, dtype=np.int8), 5)


def log_posterior(
    right_on_one: np.ndarray, right_on_zero: np.ndarray, share: float, prior: tuple[float, float]
) -> float:
    """What EM climbs, written out: each patient is of one class or the other."""
    of_one = np.where(FIT == 1, right_on_one[OBSERVER], 1 - right_on_one[OBSERVER])
    of_zero = np.where(FIT == 0, right_on_zero[OBSERVER], 1 - right_on_zero[OBSERVER])
    one = np.bincount(PATIENT, np.log(of_one)) + np.log(share)
    zero = np.bincount(PATIENT, np.log(of_zero)) + np.log1p(-share)
    p = np.r_[right_on_one, right_on_zero]
    return float(np.logaddexp(one, zero).sum() + ((prior[0] - 1) * np.log(p) + (prior[1] - 1) * np.log1p(-p)).sum())


def test_the_published_estimates() -> None:
    found = two_coin(VOTES, np.full(5, 0.8), (1.0, 1.0), 1e-9)
    assert found.truth.mean() == pytest.approx(0.40, abs=0.005)
    assert found.right_on_one == pytest.approx([0.89, 0.83, 1.00, 0.94, 1.00], abs=0.006)


@pytest.mark.parametrize("prior", [PRIOR, (2.0, 2.0)])
def test_em_ends_where_the_posterior_has_its_maximum(prior: tuple[float, float]) -> None:
    found = two_coin(VOTES, np.full(5, 0.8), prior, 1e-9)

    def falls(logit: np.ndarray) -> float:
        p = 1 / (1 + np.exp(-logit))
        return -log_posterior(p[:5], p[5:10], float(p[10]), prior)

    best = 1 / (1 + np.exp(-minimize(falls, np.full(11, 1.0), method="BFGS").x))
    assert found.right_on_one == pytest.approx(best[:5], abs=1e-3)
    assert found.right_on_zero == pytest.approx(best[5:10], abs=1e-3)
    assert found.truth.mean() == pytest.approx(best[10], abs=1e-3)


def test_the_one_coin_model_ends_at_its_maximum() -> None:
    """The same with one rate for both classes, and either class as likely."""
    found = one_coin(OBSERVER, PATIENT, FIT)

    def falls(logit: np.ndarray) -> float:
        p = 1 / (1 + np.exp(-logit))
        prior = ((PRIOR[0] - 1) * np.log(p) + (PRIOR[1] - 1) * np.log1p(-p)).sum()
        return -float(log_posterior(p, p, 0.5, (1.0, 1.0)) + prior)

    best = 1 / (1 + np.exp(-minimize(falls, np.full(5, 1.0), method="BFGS").x))
    assert found.reliability == pytest.approx(best, abs=2e-3)
