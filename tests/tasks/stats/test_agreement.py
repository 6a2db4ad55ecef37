"""Agreement on the tables that their papers print."""

import numpy as np
import pytest

from tasks.stats.ballots import Ballots
from tasks.stats.count_patterns import count_patterns, pattern_bootstrap
from tasks.stats.fleiss import fleiss_kappa
from tasks.stats.krippendorff import Level, krippendorff_alpha
from tasks.stats.pairwise_agreement import pairwise_agreement, raw_agreement

FOUR_OBSERVERS = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""  # Krippendorff (2011), example C: four observers, twelve units, missing votes
TWO_OBSERVERS = "0 1 0 0 0 0 0 0 1 0\n1 1 1 0 0 1 0 0 0 0"  # ibid., example A
PSYCHIATRISTS = """
00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031 00501 30012 51000 02040
10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006
"""  # Fleiss (1971), table 1: thirty patients, six psychiatrists each, five diagnoses


def votes_of(table: str) -> tuple[np.ndarray, np.ndarray]:
    rows = [line.split() for line in table.strip().splitlines()]
    cells = [(unit, float(v)) for row in rows for unit, v in enumerate(row) if v != "."]
    return np.array([u for u, _ in cells]), np.array([v for _, v in cells])


@pytest.mark.parametrize(
    ("table", "level", "published"),
    [
        (TWO_OBSERVERS, "nominal", 0.095),
        (FOUR_OBSERVERS, "nominal", 0.743),
        (FOUR_OBSERVERS, "ordinal", 0.815),
        (FOUR_OBSERVERS, "interval", 0.849),
    ],
)
def test_krippendorffs_own_examples(table: str, level: Level, published: float) -> None:
    found = krippendorff_alpha(*votes_of(table), level)
    assert found.alpha == pytest.approx(published, abs=5e-4)
    assert found.low <= found.alpha <= found.high


def test_alpha_of_one_value_and_of_nothing() -> None:
    same = krippendorff_alpha(np.array([0, 0, 1, 1]), np.ones(4), "nominal")
    assert same.alpha == 1.0
    alone = krippendorff_alpha(np.array([0, 1]), np.array([0, 1]), "nominal")
    assert alone.units == 0
    assert np.isnan(alone.alpha)


def test_fleiss_own_table() -> None:
    counts = np.array([[int(c) for c in row] for row in PSYCHIATRISTS.split()])
    assert counts.shape == (30, 5)
    assert (counts.sum(axis=1) == 6).all()
    assert fleiss_kappa(counts) == pytest.approx(0.430, abs=5e-4)
    patterns, times = count_patterns(counts)
    assert len(patterns) < 30
    assert fleiss_kappa(patterns, times) == pytest.approx(fleiss_kappa(counts))


@pytest.mark.parametrize("most", [3, 1000])
def test_different_counts_are_found_with_and_without_sorting(most: int) -> None:
    counts = np.random.default_rng(5).integers(0, most, (200, 2))
    patterns, times = count_patterns(counts)
    expected = np.unique(counts, axis=0, return_counts=True)
    assert patterns.tolist() == expected[0].tolist()
    assert times.tolist() == expected[1].tolist()


def test_pairwise_agreement_by_hand() -> None:
    """Item 0: votes 1, 1, 0 (annotators 0, 1, 2); item 1: 1, 0 (annotators 0, 2). One pair of four agrees."""
    ballots = Ballots(
        who=np.array([0, 1, 2, 0, 2], dtype=np.int32),
        item=np.array([0, 0, 0, 1, 1], dtype=np.int32),
        choice=np.array([1, 1, 0, 1, 0], dtype=np.int8),
        known=np.full(2, -1, dtype=np.int8),
        n_annotators=3,
    )
    each, overall = pairwise_agreement(ballots)
    assert each.tolist() == pytest.approx([1 / 3, 1 / 2, 0])
    assert overall == pytest.approx(1 / 4)
    assert raw_agreement(np.array([[1, 2], [1, 1]]), np.ones(2)) == pytest.approx(overall)


def test_the_bootstrap_over_patterns_is_the_one_over_items() -> None:
    rng = np.random.default_rng(0)
    ones = rng.binomial(5, rng.beta(2, 2, 400))
    counts = np.stack([5 - ones, ones], axis=1)
    value, low, high = pattern_bootstrap(counts, fleiss_kappa, 400)
    drawn = [fleiss_kappa(counts[rng.integers(400, size=400)]) for _ in range(400)]
    assert value == pytest.approx(fleiss_kappa(counts))
    assert [low, high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist(), abs=0.02)
