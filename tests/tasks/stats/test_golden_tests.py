"""Golden items: exact and sequential tests, how many are needed, which to retire."""

import numpy as np
import pytest
from scipy.stats import binom

from tasks.stats.ballots import Ballots
from tasks.stats.golden import golden_audit
from tasks.stats.golden_design import golden_items_needed, golden_power, to_retire
from tasks.stats.sequential import sequential_test
from tasks.stats.sprt import sprt


def test_wald_by_hand() -> None:
    """p₀ = .8, α = .01, β = .05: steps of log 4 = 1.386; fails above log(.95 / .01) = 4.554, four wrong ones in a row;
    passes below log(.05 / .99) = −2.986, three right ones."""
    failing = sprt(np.zeros(9, dtype=bool), 0.8, 0.01, 0.05)
    assert (failing.verdict, failing.decided_at) == ("fails", 4)
    passing = sprt(np.ones(9, dtype=bool), 0.8, 0.01, 0.05)
    assert (passing.verdict, passing.decided_at) == ("passes", 3)
    nothing = sprt(np.zeros(0, dtype=bool), 0.8, 0.01, 0.05)
    assert (nothing.verdict, nothing.more) == ("go on", 4)  # 2.986 / (.6 · 1.386) = 3.6


def test_wald_keeps_its_errors_and_is_done_after_about_ten_items() -> None:
    rng = np.random.default_rng(0)
    inverters = [sprt(rng.random(200) < 0.25, 0.75, 0.01, 0.05) for _ in range(1500)]
    honest = [sprt(rng.random(200) < 0.75, 0.75, 0.01, 0.05) for _ in range(1500)]
    assert np.mean([t.verdict == "fails" for t in honest]) <= 0.015
    assert np.mean([t.verdict == "passes" for t in inverters]) <= 0.06
    assert np.mean([t.decided_at for t in inverters]) < 10


def test_the_always_valid_test_by_hand() -> None:
    """Seven wrong ones in a row: Λ = 2 (1 − ½⁸) / 8 / .4⁷."""
    found = sequential_test(np.zeros(7, dtype=int), np.zeros(7, dtype=bool), 1, 0.005)
    assert found.p_value[0] == pytest.approx(0.4**7 * 8 / (2 * (1 - 0.5**8)))
    assert found.decided_at.tolist() == [0]
    assert sequential_test(np.zeros(8, dtype=int), np.zeros(8, dtype=bool), 1, 0.005).decided_at.tolist() == [8]


def test_the_always_valid_test_may_be_looked_at_after_each_item() -> None:
    rng = np.random.default_rng(1)
    people, items = 4000, 60
    who = np.repeat(np.arange(people), items)
    found = sequential_test(who, rng.random(len(who)) < 0.6, people, 0.05)
    assert (found.p_value <= 0.05).mean() < 0.05  # somebody at the border of the null, at any time
    inverters = sequential_test(who[: 400 * items], rng.random(400 * items) < 0.1, people, 0.005)
    assert np.median(inverters.decided_at[:400]) <= 13


def test_power_of_the_audit_by_hand() -> None:
    """Ten items at level .05 against .6: P(X ≤ 2) = .0123, P(X ≤ 3) = .0548; so two right ones or fewer fail."""
    assert golden_power(10, 0.1, 1, 0.05) == pytest.approx(float(binom.cdf(2, 10, 0.1)))
    needed = golden_items_needed(0.25, 1000, 0.005, 0.9)
    assert needed is not None
    assert golden_power(needed, 0.25, 1000, 0.005) >= 0.9 > golden_power(needed - 1, 0.25, 1000, 0.005)
    assert golden_items_needed(0.6, 1000, 0.005, 0.9) is None


def test_the_audit_agrees_with_scipy() -> None:
    flags, p = golden_audit(np.array([3, 10]), np.array([10, 15]), 0.1)
    assert p.tolist() == pytest.approx([binom.cdf(3, 10, 0.6), binom.cdf(10, 15, 0.6)])
    assert not flags[1]


def test_a_golden_item_that_careful_people_contradict_is_retired() -> None:
    people, items = 60, 8
    rng = np.random.default_rng(2)
    item = np.repeat(np.arange(items), people).astype(np.int32)
    choice = (rng.random(len(item)) < 0.9).astype(np.int8)  # the truth is 1 everywhere
    known = np.array([1, 1, 1, 0, -1, 1, 1, 1], dtype=np.int8)  # item 3 has a wrong key, item 4 none
    ballots = Ballots(np.tile(np.arange(people), items).astype(np.int32), item, choice, known, people)
    assert to_retire(ballots, np.ones(people, dtype=bool), 0.01).tolist() == [3]
