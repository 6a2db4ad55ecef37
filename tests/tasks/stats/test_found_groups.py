"""Groups of SIMULATED people who see half of all items otherwise, and crowds without any."""

import numpy as np
import pytest

from tasks.stats.found_groups import found_groups

Votes = tuple[np.ndarray, np.ndarray, np.ndarray]


def crowd(sizes: list[int], items: int, each: int, seed: int, accuracy: float = 0.85) -> tuple[np.ndarray, Votes]:
    """(group of each person, votes): `each` people vote on an item, by the answer of their group to it."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    answers = rng.integers(2, size=(items, len(sizes)))  # groups answer half of the items alike
    who = np.concatenate([rng.choice(len(group), each, replace=False) for _ in range(items)])
    what = np.repeat(np.arange(items), each)
    right = rng.random(len(who)) < accuracy
    return group, (who, what, np.where(right, answers[what, group[who]], 1 - answers[what, group[who]]))


@pytest.mark.parametrize("sizes", [[27, 13], [34, 6], [20, 14, 9]])
def test_groups_are_found_whole_and_the_largest_is_the_first(sizes: list[int]) -> None:
    for seed in range(3):
        group, votes = crowd(sizes, 1500, 6, seed)
        found = found_groups(*votes, len(sizes))
        assert np.mean(found.member.argmax(axis=1) == group) == 1
        assert found.gain > 0.02


def test_a_crowd_of_one_mind_has_no_second_group() -> None:
    for seed in range(3):
        found = found_groups(*crowd([40], 800, 5, seed)[1], 2)
        assert found.gain < 0.005 and (found.member[:, 0] > 0.9).mean() > 0.9


def test_who_votes_too_little_is_of_no_group_for_sure() -> None:
    _, (who, what, choice) = crowd([27, 13], 1500, 6, 0)
    kept = (who != 30) | (np.cumsum(who == 30) <= 3)
    found = found_groups(who[kept], what[kept], choice[kept], 2)
    assert found.member[30].max() < found.member[29].max()
