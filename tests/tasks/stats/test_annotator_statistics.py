"""Dawid–Skene, false-discovery control and golden audit on hand-worked and simulated crowds."""

import numpy as np
import pytest

from tasks.stats.ballots import Ballots
from tasks.stats.dawid_skene import one_coin
from tasks.stats.false_discovery import bayesian_fdr, holm
from tasks.stats.golden import golden_audit
from tasks.stats.response_model import ResponseModel


def crowd(accuracy: np.ndarray, items: int, votes: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(annotator, item, choice) of a simulated crowd; the truth of every item is drawn by a fair coin."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, items)
    who = np.concatenate([rng.choice(len(accuracy), votes, replace=False) for _ in range(items)])
    item = np.repeat(np.arange(items), votes)
    right = rng.random(len(who)) < accuracy[who]
    return who, item, np.where(right, truth[item], 1 - truth[item])


def test_one_coin_recovers_reliability() -> None:
    accuracy = np.array([0.95] * 4 + [0.8] * 8 + [0.6] * 4 + [0.1, 0.5])
    fitted = one_coin(*crowd(accuracy, 2000, 5, 3))
    assert np.abs(fitted.reliability - accuracy).max() < 0.06


def test_golden_items_turn_a_majority_of_inverters_round() -> None:
    accuracy = np.array([0.1] * 6 + [0.9] * 4)
    who, item, choice = crowd(accuracy, 600, 5, 0)
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 600)  # the first draw of `crowd`
    golden = np.where(np.arange(600) < 60, truth, -1)
    assert one_coin(who, item, choice).reliability[:6].mean() > 0.5  # votes alone believe the majority
    assert one_coin(who, item, choice, golden).reliability[:6].max() < 0.3


def test_own_vote_does_not_vouch_for_itself() -> None:
    who, item, choice = np.array([0, 1]), np.array([0, 1]), np.array([1, 0])
    nothing = np.full(2, -1, dtype=np.int8)
    model = ResponseModel(Ballots(who.astype(np.int32), item.astype(np.int32), choice.astype(np.int8), nothing, 2))
    model.fit()
    assert model.judge().right == pytest.approx([0.5, 0.5], abs=1e-3)


def test_holm_on_a_hand_worked_example() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005])  # 0.005 ≤ 0.0125, 0.01 ≤ 0.0167, 0.03 > 0.025
    assert holm(p, 0.05).tolist() == [True, False, False, True]
    assert not holm(np.array([]), 0.05).size


def test_bayesian_fdr_keeps_the_mean_of_false_below_the_level() -> None:
    p = np.array([0.99, 0.5, 0.97, 0.8])  # expected false: 0.01, 0.02, 0.08, 0.185
    assert bayesian_fdr(p, 0.021).tolist() == [True, False, True, False]
    assert bayesian_fdr(p, 0.081).tolist() == [True, False, True, True]


def test_golden_audit_is_an_exact_binomial() -> None:
    flags, p = golden_audit(np.array([0, 9, 0]), np.array([5, 10, 0]), 0.05)
    assert p[0] == pytest.approx(0.4**5)  # at an accuracy of 0.6
    assert p[2] == 1.0
    assert flags.tolist() == [True, False, False]
