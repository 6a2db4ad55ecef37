"""Annotators who answer one topic the other way round, and topics on which a group holds another view.

For annotator j and topic t, the contrast at honest skill s is Σ_{v of j in t} [log(1 − p_s(v)) − log p_s(v)], p_s(v)
the probability of the vote that was cast. Who is honest but for the topics in a set S has

    log Σ_s w_s Π_{t∈S} π_t Π_{t∉S} (1 − π_t) exp(ℓ_s + Σ_{t∈S} contrast_st),   ℓ_s: log-likelihood of all their votes at skill s,

π_t being the share of the honest who turn t round (two-group model, Efron 2008, for each topic). EM fits the π_t to all
annotators, summed over every S but the whole: who turns everything round inverts. The alternatives are those of being unreliable
whatever the topic. Without the topics, who turns two of five round looks like one who turns 40 % round: so nobody is left
out beforehand. A topic that a large share turns round is a disagreement between groups (`topic_views.py`): its members are
reported, not accused. On the other topics, one of a person's T topics, each as likely,

    evidence = log Σ_s w_s (1/T) Σ_t exp(ℓ_s + contrast_st).

O(votes + annotators' topics).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from tasks.stats.ballots import add, slices

STEPS = 100
MOVED = 1e-5
START = 0.01
FAR = 600.0  # log odds beyond which nothing more is told, and numbers end
LEAST_MEMBERS = 5.0  # fewer are not a group


@dataclass(frozen=True)
class Contrast:
    """A row for each annotator and topic they voted on: `who`, `topic`, `votes`, `contrast` (rows, skills)."""

    who: np.ndarray
    topic: np.ndarray
    votes: np.ndarray
    contrast: np.ndarray


@dataclass(frozen=True)
class Beside:
    """What annotators may be beside turning topics round. `by_skill`: (annotators, skills) log-likelihood of all their votes;
    `weights`: (skills,) of honest skills; `unreliable`: (annotators,) log of likelihood and prior of being so whatever the
    topic, whose prior is `bad`; `whole`: (annotators,) bool, all of whose votes have a topic."""

    by_skill: np.ndarray
    weights: np.ndarray
    unreliable: np.ndarray
    bad: float
    whole: np.ndarray


@dataclass(frozen=True)
class Turned:
    """`share`: (topics,) of the trusted who turn it round; `posterior`: (rows,) probability that its annotator is trusted
    and does; `trusted`: (annotators,) bool, honest but for topics they turn round."""

    share: np.ndarray
    posterior: np.ndarray
    trusted: np.ndarray


def contrasts(who: np.ndarray, topic: np.ndarray, by_skill: np.ndarray) -> Contrast:
    """From votes: `topic` (votes,) codes, −1 unknown; `by_skill` (votes, skills) probability of the vote cast."""
    n_topics = int(topic.max(initial=0)) + 1
    cells = (int(who.max(initial=0)) + 1) * n_topics
    names = np.arange(cells)
    if cells > 4 * len(who):  # too many pairs that never met for a dense table
        names = np.unique(who[topic >= 0].astype(np.int64) * n_topics + topic[topic >= 0])
    votes, total = np.zeros(len(names), dtype=np.int64), np.zeros((by_skill.shape[1], len(names)))
    for part in slices(len(who)):
        known = topic[part] >= 0
        key = who[part][known].astype(np.int64) * n_topics + topic[part][known]
        cell = key if len(names) == cells else np.searchsorted(names, key)
        add(votes, cell)
        for out, cast in zip(total, by_skill[part][known].T, strict=True):
            add(out, cell, np.log1p(-cast) - np.log(cast))
    met = votes > 0
    return Contrast(names[met] // n_topics, names[met] % n_topics, votes[met], total.T[met])


def turned_round(table: Contrast, beside: Beside) -> Turned:
    """By EM, to all annotators at once."""
    who, first, at = np.unique(table.who, return_index=True, return_inverse=True)
    contrast = np.clip(np.ascontiguousarray(table.contrast.T), -FAR, FAR)  # (skills, rows): long rows are quick
    ratio, honest = np.exp(contrast), beside.by_skill[who].T + np.log(beside.weights)[:, None]
    every = np.add.reduceat(contrast, first, axis=1)
    worse = np.logaddexp(beside.unreliable[who], logsumexp(honest + every, axis=0) + np.log(beside.bad))
    every[:, ~beside.whole[who]] = -np.inf
    share = np.full(int(table.topic.max(initial=0)) + 1, START)
    for _ in range(STEPS):
        odds = share[table.topic] * ratio
        either = odds + (1 - share)[table.topic]
        of_all = np.add.reduceat(np.log(either), first, axis=1)
        inverts = np.exp(every + np.add.reduceat(np.log(share)[table.topic], first) - of_all)
        rest = np.maximum(1 - inverts, 1e-12)
        good = honest + of_all + np.log(rest) + np.log1p(-beside.bad)
        of_skill = np.exp(good - np.logaddexp(logsumexp(good, axis=0), worse))
        posterior = ((odds / either - inverts[:, at]) * (of_skill / rest)[:, at]).sum(axis=0)
        people = np.bincount(table.topic, of_skill.sum(axis=0)[at])
        before, share = share, (np.bincount(table.topic, posterior) + START) / (people + 1)
        if np.abs(share - before).max() < MOVED:
            break
    trusted = np.zeros(len(beside.by_skill), dtype=bool)
    trusted[who] = of_skill.sum(axis=0) > 0.5
    return Turned(share, posterior, trusted)


def disputed_topics(turned: Turned, table: Contrast, least_share: float) -> np.ndarray:
    """(topics,) bool: a group of at least `least_share` of the topic's annotators, and of a few people, disagrees."""
    people = np.bincount(table.topic, turned.trusted[table.who], len(turned.share))
    return (turned.share >= least_share) & (turned.share * people >= LEAST_MEMBERS)


def topic_evidence(
    table: Contrast, excused: np.ndarray, by_skill: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """((annotators,) log-likelihood of turning round one topic, (annotators,) the most probable one), rows that are `excused`,
    (rows,) bool, left out.

    `by_skill`: (annotators, skills) log-likelihood of all their votes; `weights`: (skills,) of honest skills.
    """
    n = len(by_skill)
    usable = ~excused
    joint = logsumexp(table.contrast + by_skill[table.who] + np.log(weights), axis=1)
    who, joint, topic = table.who[usable], joint[usable], table.topic[usable]
    best, target = np.full(n, -np.inf), np.full(n, -1)
    np.maximum.at(best, who, joint)
    top = joint == best[who]
    target[who[top]] = topic[top]
    sums = np.bincount(who, np.exp(joint - best[who]), n)
    with np.errstate(divide="ignore"):
        return best + np.log(sums) - np.log(np.maximum(np.bincount(who, minlength=n), 1)), target
