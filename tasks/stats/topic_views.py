"""Groups of people who see topics otherwise than the crowd, each topic for itself or several together.

First each topic for itself (`topic_contrast.py`): a topic that many turn round has a group. But who shares a view of four topics
has made up their mind once. Taken one at a time, the four are as improbable together as four accidents, and a careless holder is
sooner taken for one who guesses. So topics of which any two groups share more than half of the larger one become one view V,
held as a whole or not at all,

    contrast_sV = Σ_{t∈V} [contrast_st − log(1 − a_t + a_t exp(contrast_st))],

a_t being the share of those who turn t round without most of V, and everything is fitted again. Who turns one topic of a view round
and not the others disagrees on that topic, if they are a group without its holders, and acts alone otherwise.

O(annotators' topics × skills) a step, at most twice.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from tasks.stats.topic_contrast import (
    FAR,
    LEAST_MEMBERS,
    START,
    Beside,
    Contrast,
    Turned,
    disputed_topics,
    turned_round,
)


@dataclass(frozen=True)
class TopicGroup:
    """`share` of a topic's `people` who turn it round; `members`: (annotators,) bool; `open`: whoever else does so disagrees
    with the crowd, too; else they act alone."""

    topic: int
    share: float
    people: int
    members: np.ndarray
    open: bool


def topic_groups(table: Contrast, beside: Beside, least_share: float) -> list[TopicGroup]:
    """The groups of at least `least_share` of a topic's annotators, in the order of the topics."""
    turned = turned_round(table, beside)
    topics = np.flatnonzero(disputed_topics(turned, table, least_share))
    people = np.bincount(table.topic, turned.trusted[table.who], len(turned.share))
    groups = [
        TopicGroup(topic, float(turned.share[topic]), int(people[topic]), _members(table, turned, topic, beside), True)
        for topic in topics.tolist()
    ]
    view = _same_people(groups) if groups else topics
    if len(np.unique(view)) == len(groups):
        return groups
    codes, without = np.arange(len(people)), np.zeros(len(people))
    codes[topics] = topics[np.unique(view, return_index=True)[1]][view]
    without[topics] = _without(groups, view)
    merged, beside = _merged(table, beside, codes, without)
    turned = turned_round(merged, beside)
    held, size = disputed_topics(turned, merged, least_share), np.bincount(view)
    return [
        _in_view(group, _members(merged, turned, code, beside), float(turned.share[code]), least_share)
        if held[code] and size[of] > 1
        else group
        for group, code, of in zip(groups, codes[topics].tolist(), view.tolist(), strict=True)
    ]


def _members(table: Contrast, turned: Turned, topic: int, beside: Beside) -> np.ndarray:
    members = np.zeros(len(beside.by_skill), dtype=bool)
    members[table.who[(table.topic == topic) & (turned.posterior > 0.5)]] = True
    return members


def _same_people(groups: list[TopicGroup]) -> np.ndarray:
    """(groups,) number of the view of each: those that share most of their members are one."""
    of = csr_matrix(np.array([group.members for group in groups]), dtype=np.int64)
    shared = (of @ of.T).toarray()
    size = shared.diagonal()
    return np.asarray(connected_components(csr_matrix(shared > np.maximum(size, size[:, None]) / 2))[1])


def _without(groups: list[TopicGroup], view: np.ndarray) -> np.ndarray:
    """(groups,) share of those who turn the topic round without most of its view."""
    share = np.zeros(len(groups))
    for of in np.unique(view):
        mine = np.flatnonzero(view == of)
        most = np.sum([groups[k].members for k in mine], axis=0) > len(mine) / 2
        for k in mine:
            share[k] = ((groups[k].members & ~most).sum() + START) / (groups[k].people + 1)
    return share


def _merged(table: Contrast, beside: Beside, codes: np.ndarray, without: np.ndarray) -> tuple[Contrast, Beside]:
    """The table with the view `codes` (topics,) in place of topics, and what its people are beside that: `without` (topics,)
    turn the topic round without it."""
    several = np.bincount(codes, minlength=len(codes))[codes] > 1
    share = np.where(several, without, 0.0)[table.topic, None]
    own = np.log1p(share * np.expm1(np.minimum(table.contrast, FAR)))
    names, cell = np.unique(table.who.astype(np.int64) * len(codes) + codes[table.topic], return_inverse=True)
    votes, contrast = np.zeros(len(names), dtype=np.int64), np.zeros((len(names), own.shape[1]))
    np.add.at(votes, cell, table.votes)
    np.add.at(contrast, cell, table.contrast - own)
    by_skill = beside.by_skill.astype(np.float64)
    np.add.at(by_skill, table.who, own)
    return Contrast(names // len(codes), names % len(codes), votes, contrast), replace(beside, by_skill=by_skill)


def _in_view(group: TopicGroup, holders: np.ndarray, share: float, least_share: float) -> TopicGroup:
    """The group of a topic once its `holders` have the view as a whole; the others stay in it if they are a group without them."""
    others = int((group.members & ~holders).sum())
    if others >= max(LEAST_MEMBERS, least_share * group.people):
        return replace(group, members=group.members | holders)
    return replace(group, share=share, members=holders, open=False)
