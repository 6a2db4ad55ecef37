"""Annotators who answer one topic the other way round, and topics on which a group holds another view.

For annotator j and topic t, the contrast at honest skill s is Σ_{v of j in t} [log(1 − p_s(v)) − log p_s(v)], p_s(v)
the probability of the vote that was cast. The share of annotators who turn t round is fitted by EM for each topic
(two-group model, Efron 2008). A topic on which a large share does is a disagreement between groups: its members are
reported, not accused. On the other topics, one of a person's T topics, each as likely,

    evidence = log Σ_s w_s (1/T) Σ_t exp(ℓ_s + contrast_st),   ℓ_s: log-likelihood of all their votes at skill s.

O(votes + annotators' topics).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logsumexp

from tasks.stats.ballots import add, slices

STEPS = 100
START = 0.01
LEAST_MEMBERS = 5.0  # fewer are not a group


@dataclass(frozen=True)
class Contrast:
    """A row for each annotator and topic they voted on: `who`, `topic`, `votes`, `contrast` (rows, skills)."""

    who: np.ndarray
    topic: np.ndarray
    votes: np.ndarray
    contrast: np.ndarray


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


def turned_round(table: Contrast, at_skill: np.ndarray, trusted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((topics,) share who turn it round, (rows,) posterior of each), among `trusted` (annotators,) people.

    `at_skill`: (annotators, skills) posterior weights of each annotator's honest skill.
    """
    n_topics = int(table.topic.max(initial=0)) + 1
    contrast = logsumexp(table.contrast + np.log(at_skill[table.who] + 1e-12), axis=1)
    weight = trusted[table.who].astype(np.float64)
    people = np.bincount(table.topic, weight, n_topics)
    share = np.full(n_topics, START)
    for _ in range(STEPS):
        posterior = expit(np.log(share / (1 - share))[table.topic] + contrast)
        share = (np.bincount(table.topic, weight * posterior, n_topics) + START) / (people + 1)
    return share, posterior


def disputed_topics(share: np.ndarray, table: Contrast, trusted: np.ndarray, least_share: float) -> np.ndarray:
    """(topics,) bool: a group of at least `least_share` of the topic's annotators, and of a few people, disagrees."""
    people = np.bincount(table.topic, trusted[table.who], len(share))
    return (share >= least_share) & (share * people >= LEAST_MEMBERS)


def topic_evidence(
    table: Contrast, disputed: np.ndarray, by_skill: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """((annotators,) log-likelihood of turning round one undisputed topic, (annotators,) the most probable one).

    `by_skill`: (annotators, skills) log-likelihood of all their votes; `weights`: (skills,) of honest skills.
    """
    n = len(by_skill)
    usable = ~disputed[table.topic]
    joint = logsumexp(table.contrast + by_skill[table.who] + np.log(weights), axis=1)
    who, joint, topic = table.who[usable], joint[usable], table.topic[usable]
    best, target = np.full(n, -np.inf), np.full(n, -1)
    np.maximum.at(best, who, joint)
    top = joint == best[who]
    target[who[top]] = topic[top]
    sums = np.bincount(who, np.exp(joint - best[who]), n)
    with np.errstate(divide="ignore"):
        return best + np.log(sums) - np.log(np.bincount(who, minlength=n)), target
