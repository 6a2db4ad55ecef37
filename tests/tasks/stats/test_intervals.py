"""Intervals against published and exactly known values, and their coverage."""

import numpy as np
import pytest

from tasks.stats.intervals import bootstrap_mean, wilson, wilson_clustered


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_on_newcombes_examples(successes: int, n: int, low: float, high: float) -> None:
    """Newcombe (1998), Statistics in Medicine 17:857, table I, method 3."""
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_without_observations_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_clusters_of_one_row_give_wilson_itself() -> None:
    hits = np.arange(30) % 3 == 0
    assert wilson_clustered(hits, np.arange(30)) == wilson(10, 30)
    assert wilson_clustered(np.zeros(0, dtype=bool), np.zeros(0)) == (0.0, 1.0)


def test_copies_of_a_row_count_as_one() -> None:
    hits = np.arange(40) % 4 == 0
    found = wilson_clustered(np.repeat(hits, 6), np.repeat(np.arange(40), 6))
    assert found == pytest.approx(wilson(10, 40), abs=0.003)  # between-cluster variance has one degree less
    assert wilson_clustered(np.ones(60, dtype=bool), np.repeat(np.arange(10), 6)) == pytest.approx(wilson(10, 10))


@pytest.mark.parametrize(("share", "ways"), [(0.6, 3), (0.9, 6)])
def test_clustered_wilson_covers_as_often_as_it_says(share: float, ways: int) -> None:
    """Rows of a cluster agree more often than those of two; the plain interval is then too narrow."""
    rng, covered = np.random.default_rng(5), {"clustered": 0, "plain": 0}
    for _ in range(400):
        p = rng.beta(2 * share, 2 * (1 - share), 60)
        hits = (rng.random((60, ways)) < p[:, None]).ravel()
        low, high = wilson_clustered(hits, np.repeat(np.arange(60), ways), 0.9)
        covered["clustered"] += low <= share <= high
        low, high = wilson(int(hits.sum()), len(hits), 0.9)
        covered["plain"] += low <= share <= high
    assert 0.86 <= covered["clustered"] / 400 <= 0.95
    assert covered["plain"] / 400 < 0.85


def test_bootstrap_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        low, high = bootstrap_mean(rng.normal(1.0, 2.0, 60), level=0.9, resamples=200, seed=trial)
        hits += low <= 1.0 <= high
    assert 0.83 <= hits / 200 <= 0.96


def test_clusters_widen_the_interval_of_dependent_rows() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 10)
    values = rng.normal(size=40)[groups]  # ten copies of each
    alone = bootstrap_mean(values, level=0.95, resamples=500, seed=1)
    together = bootstrap_mean(values, level=0.95, resamples=500, seed=1, clusters=groups)
    assert (together[1] - together[0]) > 2 * (alone[1] - alone[0])


def test_weights_make_a_ratio() -> None:
    low, high = bootstrap_mean(
        np.array([2.0, 4.0, 6.0]), weights=np.array([1.0, 2.0, 3.0]), level=0.95, resamples=50, seed=0
    )
    assert low == pytest.approx(2.0) == pytest.approx(high)
