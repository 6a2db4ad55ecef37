"""Who agrees with whom where the crowd explains neither: SIMULATED crowds."""

from typing import Any

import numpy as np
import pytest

from tasks.stats.ballots import Ballots
from tasks.stats.shared_views import shared_views

ITEMS, PEOPLE, EACH = 400, 60, 200
LEVEL = 0.01


def crowd(seed: int, views: dict[int, float], guessers: int = 0, bias: float = 0.5) -> tuple[Ballots, np.ndarray]:
    """(ballots, probability that each vote is right by the crowd). The first people share `views[size]` of their answers
    with a truth of their own, independent of the crowd's; then come `guessers`, who say 1 with probability `bias`."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(2, size=ITEMS)
    own = [rng.integers(2, size=ITEMS) for _ in views]
    holds = np.full(PEOPLE, -1)
    at = 0
    for k, size in enumerate(views):
        holds[at : at + size] = k
        at += size
    rows: dict[str, list[Any]] = {"item": [], "who": [], "choice": []}
    for j in range(PEOPLE):
        for i in rng.choice(ITEMS, EACH, replace=False):
            if holds[j] >= 0:
                answer = own[holds[j]][i] ^ (rng.random() > list(views.values())[holds[j]])
            elif j < at + guessers:
                answer = rng.random() < bias
            else:
                answer = truth[i] ^ (rng.random() > 0.8)
            for name, value in (("item", i), ("who", j), ("choice", int(answer))):
                rows[name].append(value)
    order = np.lexsort((rows["who"], rows["item"]))
    item, who = (np.array(rows[n], dtype=np.int32)[order] for n in ("item", "who"))
    choice = np.array(rows["choice"], dtype=np.int8)[order]
    right = np.where(choice == truth[item], 0.97, 0.03).astype(np.float32)
    return Ballots(who, item, choice, np.full(ITEMS, -1, dtype=np.int8), PEOPLE), right


def first(n: int) -> np.ndarray:
    return np.arange(PEOPLE) < n


@pytest.mark.parametrize("seed", range(5))
def test_another_view_is_found_among_guessers(seed: int) -> None:
    b, right = crowd(seed, {10: 0.85}, guessers=10)
    groups = [view > 0.5 for view in shared_views(b, right, first(20), LEVEL, 5)]
    assert len(groups) == 1
    assert groups[0][:10].sum() >= 9
    assert groups[0][10:].sum() == 0


@pytest.mark.parametrize("seed", range(5))
def test_two_views_are_two_groups(seed: int) -> None:
    b, right = crowd(seed, {12: 0.9, 8: 0.9})
    groups = [view > 0.5 for view in shared_views(b, right, first(20), LEVEL, 5)]
    assert [g[:12].sum() > 10 or g[12:20].sum() >= 5 for g in groups] == [True, True]
    assert not (groups[0] & groups[1]).any()
    assert min(groups[0][:12].sum(), groups[0][12:20].sum()) == 0


@pytest.mark.parametrize("bias", [0.5, 0.9])
def test_guessers_share_no_view(bias: float) -> None:
    """Also where all of them say a more often: twenty crowds, in each of which one would be a false finding."""
    found = [list(shared_views(*crowd(s, {}, 20, bias), first(20), LEVEL, 2)) for s in range(20)]
    assert sum(map(len, found)) == 0


def test_who_takes_the_longer_response_shares_a_cue_and_no_view() -> None:
    b, right = crowd(3, {}, guessers=20)
    rng = np.random.default_rng(3)
    longer = rng.integers(2, size=ITEMS).astype(np.int8)[b.item]
    choice = np.where((b.who < 20) & (rng.random(len(b.who)) < 0.9), longer, b.choice).astype(np.int8)
    known = Ballots(b.who, b.item, choice, b.known, PEOPLE, longer=longer)
    assert list(shared_views(known, right, first(20), LEVEL, 5)) == []
    unknown = Ballots(b.who, b.item, choice, b.known, PEOPLE)  # nobody can tell a taste for length from another taste
    assert len(list(shared_views(unknown, right, first(20), LEVEL, 5))) == 1


def test_few_people_are_no_group() -> None:
    b, right = crowd(0, {4: 0.95}, guessers=16)
    assert list(shared_views(b, right, first(20), LEVEL, 5)) == []
    assert list(shared_views(b, right, first(0), LEVEL, 5)) == []
