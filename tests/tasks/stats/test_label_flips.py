"""The score test of turned labels: exact where it can be worked out, calibrated where nothing is turned, powerful."""

import numpy as np
import pytest

from tasks.stats.label_flips import _saddlepoint, flip_tests
from tasks.stats.row_sets import RowSets, distinct, from_codes, from_runs, windows


def sets_of(rows: list[np.ndarray]) -> RowSets:
    bounds = np.concatenate([[0], np.cumsum([len(r) for r in rows])])
    return RowSets(np.concatenate(rows).astype(np.int32), bounds, np.arange(len(rows)))


def labels(sure: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Margins of honest labels: the likelier answer is chosen with probability (1 + tanh(a/2))/2."""
    return np.where(rng.random(len(sure)) < (1 + np.tanh(sure / 2)) / 2, sure, -sure)


@pytest.mark.parametrize("rank", [3, 40, 400])
def test_tail_is_near_the_exact_one(rank: int) -> None:
    """All 2¹⁴ labellings of unequal margins, enumerated."""
    sure = np.random.default_rng(0).uniform(0.2, 2.0, 14)
    trust = np.tanh(sure / 2)
    turned = (np.arange(1 << 14)[:, None] >> np.arange(14)) & 1
    total = (sure * trust).sum() + (sure * (2 * turned - 1)).sum(axis=1)
    chance = np.prod(np.where(turned, (1 - trust) / 2, (1 + trust) / 2), axis=1)
    at = np.sort(total)[-rank]
    assert 0.5 < _saddlepoint(float(at), sure, trust) / chance[total >= at - 1e-9].sum() < 1.5


def test_all_turned_has_the_least_p_that_there_is() -> None:
    tests = flip_tests(sets_of([np.arange(9)]), np.full(9, -2.0))
    assert tests.p_values[0] == pytest.approx(tests.least_p[0])
    assert tests.least_p[0] == pytest.approx(((1 - np.tanh(1.0)) / 2) ** 9)


@pytest.mark.parametrize("turned", [0.6, 0.8, 0.9, 0.98])
def test_the_surest_sets_have_the_smallest_tails(turned: float) -> None:
    """Of rows that the model is very sure of, most are turned: far in the tail, where Newton's steps go to and fro."""
    rng = np.random.default_rng(3)
    sure = np.abs(rng.normal(2.5, 1.5, 90))
    margins = np.where(rng.random(90) < turned, -sure, sure)
    assert flip_tests(sets_of([np.arange(90)]), margins).p_values[0] < 1e-9


@pytest.mark.parametrize("surest", [30.0, 60.0, 800.0])
def test_rows_beyond_any_doubt_do_not_stop_the_search(surest: float) -> None:
    """From some 37 on, tanh(a/2) is 1 to the last digit. Such a row with its label turned is proof; without, it is none."""
    sure = np.r_[np.full(40, 0.3), surest]
    rows = sets_of([np.arange(41)])
    for turned in (np.r_[np.full(40, -1), -1], np.r_[np.full(30, 1), np.full(10, -1), -1]):
        assert flip_tests(rows, sure * turned).p_values[0] < 1e-9
    assert flip_tests(rows, sure * np.r_[np.full(20, 1), np.full(20, -1), 1]).p_values[0] > 0.01


def test_honest_labels_are_not_called_turned() -> None:
    """At level .01 over 4,000 sets of rows, also where the model is very sure or knows nothing."""
    rng = np.random.default_rng(0)
    sure = np.abs(rng.normal(0, 1.5, 20_000)) * (rng.random(20_000) < 0.7)
    margins = labels(sure, rng)
    groups = sets_of([rng.choice(20_000, int(rng.integers(5, 60)), replace=False) for _ in range(4000)])
    rate = (flip_tests(groups, margins).p_values <= 0.01).mean()
    assert rate <= 0.016  # 0.01 and four standard errors


def test_turned_labels_are_found_and_their_share_estimated() -> None:
    rng = np.random.default_rng(1)
    sure = np.abs(rng.normal(0, 0.8, 5000))
    margins = labels(sure, rng)
    bad = rng.choice(5000, 200, replace=False)
    margins[bad] *= -1
    tests = flip_tests(sets_of([bad, rng.choice(5000, 200, replace=False)]), margins)
    assert tests.p_values[0] < 1e-8
    assert tests.p_values[1] > 0.001
    share, low, high = tests.interval(0)
    assert low <= 1.0 <= high + 1e-9
    assert share > 0.7


def test_sets_of_the_same_rows_are_one_hypothesis() -> None:
    groups = sets_of([np.array([1, 2]), np.array([2, 1]), np.array([1, 3])])
    assert distinct(groups, 4, 0, np.array([0.0, 1.0, 0.0])).tolist() == [1, 2]


def test_labels_and_windows_make_sets() -> None:
    named = from_codes(np.array([0, -1, 1, 0, 0]), np.array(["a", "b"], dtype=object), 2)
    assert [(name, named.of(k).tolist()) for k, name in enumerate(named.names)] == [("a", [0, 3, 4])]
    runs = windows(np.array([3, 1, 0, 2]), ["p", "q", "r", "s"].__getitem__, 2)
    assert [runs.of(k).tolist() for k in range(3)] == [[1, 3], [0, 1], [0, 2]]
    assert runs.names.tolist() == ["p … q", "q … r", "r … s"]


def test_sets_from_parts_of_a_table_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    group, row = (rng.integers(0, n, 4000) for n in (40, 900))
    pairs = np.unique(np.stack([group, row], axis=1), axis=0)
    parts = []
    for first in range(0, 900, 300):
        of, rows = pairs[(pairs[:, 1] >= first) & (pairs[:, 1] < first + 300)].T
        here, length = np.unique(of, return_counts=True)
        parts.append((here, length, rows))
    least = int(np.median(np.bincount(pairs[:, 0])))
    sets = from_runs(parts, np.arange(40), least)
    whole = [pairs[pairs[:, 0] == k, 1].tolist() for k in range(40)]
    assert sets.names.tolist() == [k for k, rows in enumerate(whole) if len(rows) >= least]
    assert [sets.of(k).tolist() for k in range(len(sets.names))] == [whole[k] for k in sets.names]
