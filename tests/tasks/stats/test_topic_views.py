"""Who sees which topics otherwise, and with whom: SIMULATED crowds, right on four votes of five, fifty votes on each of five topics."""

import numpy as np
import pytest

from tasks.stats.topic_contrast import Beside, Contrast, contrasts, topic_evidence, turned_round
from tasks.stats.topic_views import TopicGroup, topic_groups

PEOPLE, TOPICS, VOTES = 200, 5, 50
OF_NO_USE = np.array([0.2, 0.4, 0.5, 0.6])  # share right


def crowd(views: dict[int, tuple[int, ...]], guessers: int = 0, right: float = 0.8) -> tuple[Contrast, Beside]:
    """The first `size` people turn `views[size]` round, the next those of the next size, `right` in their own eyes; `guessers`
    are the last."""
    rng = np.random.default_rng(7)
    who = np.repeat(np.arange(PEOPLE), TOPICS * VOTES).astype(np.int32)
    topic = np.tile(np.repeat(np.arange(TOPICS), VOTES), PEOPLE).astype(np.int32)
    correct = np.full((PEOPLE, TOPICS), 0.8)
    at = 0
    for size, turned in views.items():
        correct[at : at + size] = right
        correct[at : at + size, list(turned)] = 1 - right
        at += size
    correct[PEOPLE - guessers :] = 0.5
    said = rng.random(len(who)) < correct[who, topic]
    cast = np.where(said[:, None], [0.7, 0.8], [0.3, 0.2])
    by_skill = np.add.reduceat(np.log(cast), np.arange(0, len(who), TOPICS * VOTES))
    ones = np.bincount(who, said)[:, None]
    useless = ones * np.log(OF_NO_USE) + (TOPICS * VOTES - ones) * np.log(1 - OF_NO_USE)
    unreliable = np.logaddexp.reduce(useless, axis=1) + np.log(0.02)
    return contrasts(who, topic, cast), Beside(by_skill, np.full(2, 0.5), unreliable, 0.08, np.ones(PEOPLE, dtype=bool))


def seen(groups: list[TopicGroup]) -> dict[int, int]:
    """People of each topic's group."""
    return {group.topic: int(group.members.sum()) for group in groups}


@pytest.mark.parametrize("turned", [(0,), (0, 1), (0, 2, 4), (0, 1, 2, 3)])
def test_who_sees_several_topics_otherwise_is_no_guesser(turned: tuple[int, ...]) -> None:
    groups = topic_groups(*crowd({24: turned}, guessers=20), least_share=0.05)
    assert seen(groups) == dict.fromkeys(turned, 24)
    assert all(np.flatnonzero(group.members).max() == 23 for group in groups)
    assert [group.share for group in groups] == pytest.approx([24 / 180] * len(turned), abs=0.02)


def test_who_turns_everything_round_has_no_view_of_topics() -> None:
    assert topic_groups(*crowd({24: (0, 1, 2, 3, 4)}, guessers=20), least_share=0.05) == []


def test_careless_people_have_a_view_as_a_whole() -> None:
    """Right on two of three, who turns three topics round is not sure enough of each of them alone."""
    table, beside = crowd({24: (0, 1, 2)}, right=0.65)
    turned = turned_round(table, beside)
    for group in topic_groups(table, beside, least_share=0.05):
        alone = table.who[(table.topic == group.topic) & (turned.posterior > 0.5)]
        assert len(alone) <= 20
        assert group.members[:24].sum() == group.members.sum() == 22


def test_views_of_different_people_stay_apart() -> None:
    groups = topic_groups(*crowd({24: (0, 1), 20: (2, 3)}), least_share=0.05)
    assert seen(groups) == {0: 24, 1: 24, 2: 20, 3: 20}
    overlapping = topic_groups(*crowd({24: (0, 1), 20: (1, 2)}), least_share=0.05)
    assert seen(overlapping) == {0: 24, 1: 44, 2: 20}


def test_who_turns_one_topic_of_a_view_round_is_alone_unless_many_do() -> None:
    table, beside = crowd({24: (0, 1), 2: (0,)})
    groups = topic_groups(table, beside, least_share=0.05)
    assert seen(groups) == {0: 24, 1: 24}
    assert not any(group.open for group in groups)
    table, beside = crowd({24: (0, 1), 18: (0,)})
    of_zero, of_one = topic_groups(table, beside, least_share=0.05)
    assert (int(of_zero.members.sum()), int(of_one.members.sum())) == (42, 24)
    assert of_zero.open
    assert not of_one.open


def test_who_has_no_other_topic_has_no_evidence_against_them() -> None:
    table = contrasts(np.array([0, 1, 1], np.int32), np.array([0, 0, 1], np.int32), np.array([[0.2], [0.2], [0.8]]))
    honest = np.log([[0.2], [0.16]])
    evidence, target = topic_evidence(table, table.topic == 0, honest, np.ones(1))
    assert evidence.tolist() == [-np.inf, pytest.approx(np.log(0.2 * 0.2))]
    assert target.tolist() == [-1, 1]
