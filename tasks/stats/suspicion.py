"""How probable it is that an annotator's votes should not be used, over all the ways in which that can be.

Evidence of every way, on the same votes, is put beside the honest classes in one mixture (`mixture.py`), so that one
posterior, and one false-discovery rate, covers them all:

    guesses / inverts   `response_model.py`, any share of answers turned round from 0.35 on
    position / length / formatting / confirmation / constant   `policies.py`
    changed / began / lapsed   `change_points.py`: for some time
    topic               `topic_contrast.py`
    knows golden        honest on golden items, unreliable on the rest
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from tasks.stats import ballots as votes
from tasks.stats.change_points import PATTERNS, change_evidence
from tasks.stats.mixture import TAILS, Mixture, fit_mixture
from tasks.stats.policies import ANY, FOLLOWS, as_usual, cue_counts, policy_evidence
from tasks.stats.response_model import BY_SKILL, FLIP, SKILLS, TOLERATED, TRUSTED, Crowd, ResponseModel
from tasks.stats.topic_contrast import Beside, Contrast, contrasts, topic_evidence
from tasks.stats.topic_views import topic_groups

WAYS = (
    "guesses",
    "inverts",
    "position",
    "length",
    "formatting",
    "confirmation",
    "constant",
    *PATTERNS,
    "topic",
    "knows golden",
)
LEAST_GOLDEN = 10  # votes of a group, from which on they say something of it
INVERTS = 0.6  # share of answers turned round above which one inverts rather than guesses


@dataclass(frozen=True)
class Groups:
    """Views that a large share of annotators hold on a topic: `topic` code, `share` of its `people`, `members`
    (annotators,) bool, and golden votes of members on it that are right, of all. Without a topic they are of every item."""

    topic: int | None
    share: float
    people: int
    members: np.ndarray
    golden_right: int
    golden: int


@dataclass(frozen=True)
class Suspicion:
    """`log_odds` of being unreliable; `ways` (annotators, WAYS) posterior of each; `target` topic of a topic inverter;
    `stretch` (annotators, PATTERNS, 2) of votes that were not read, as shares of all; `groups`: disagreements that accuse nobody."""

    log_odds: np.ndarray
    ways: np.ndarray
    target: np.ndarray
    stretch: np.ndarray
    groups: list[Groups]
    mixture: Mixture


def suspect(model: ResponseModel, crowd: Crowd, cells: Callable[[], np.ndarray], minority_share: float) -> Suspicion:
    """`cells`: gives (annotators,) codes of what is known besides votes, such as impossible speed; it is asked late. Uses up
    `crowd.by_skill`."""
    b = model.ballots
    by_skill, evidence = crowd.by_skill, crowd.evidence
    weights = crowd.mixture.weights[BY_SKILL] / crowd.mixture.weights[BY_SKILL].sum()
    table: Contrast | None = None
    excused, groups = np.zeros(0, dtype=bool), list[Groups]()
    if b.topic is not None:
        table, excused, groups = _topics(b, crowd, weights, minority_share)
    if groups:  # what a group holds about its topic is not held against its members
        aside = np.zeros(len(b.who), dtype=bool)
        for group in groups:
            aside |= (b.topic == group.topic) & group.members[b.who]
        evidence = evidence - model.evidence(aside)
        b, by_skill = b.only(~aside), _compacted(by_skill, ~aside)
    honest = np.stack([b.per_annotator(np.log(column)) for column in by_skill.T], axis=1)
    n = b.n_annotators
    columns = dict.fromkeys(WAYS[2:], np.full(n, -np.inf))
    target, stretch = np.full(n, -1), np.zeros((n, len(PATTERNS), 2))
    for name, cue in b.cues.items():
        least = ANY if cue is None else FOLLOWS
        follows, known = cue_counts(b, cue)
        policy = policy_evidence(follows, known, b.per_annotator(), least)
        columns[name] = np.where(as_usual(follows, known), -np.inf, policy)
    if b.time is not None:
        order = b.in_time
        change = change_evidence(b.who, n, order, by_skill, weights)
        columns |= dict(zip(PATTERNS, change.evidence.T, strict=True))
        stretch = change.stretch
    if table is not None:
        columns["topic"], target = topic_evidence(table, excused, honest, weights)
    if b.on_golden.any():
        columns["knows golden"] = _knows_golden(b, by_skill, weights)
    every = np.column_stack([evidence, *columns.values()])
    tolerated = np.r_[TOLERATED, np.zeros(len(columns), dtype=bool)]
    mixture = fit_mixture(every, SKILLS, tolerated, cells(), TAILS)
    return Suspicion(*_posteriors(mixture), target, stretch, groups, mixture)


def _compacted(by_skill: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The rows `kept`, moved to the beginning: it is the largest array that there is, and is not copied."""
    filled = 0
    for part in votes.slices(len(kept)):
        some = by_skill[part][kept[part]]
        by_skill[filled : filled + len(some)] = some
        filled += len(some)
    return by_skill[:filled]


def _posteriors(mixture: Mixture) -> tuple[np.ndarray, np.ndarray]:
    """(log odds, posterior of each way)."""
    of_class = mixture.posterior
    answers, others = of_class[:, : len(TRUSTED)], of_class[:, len(TRUSTED) :]
    of_no_use = np.column_stack([(1 - TRUSTED) * (FLIP <= INVERTS), (1 - TRUSTED) * (FLIP > INVERTS)])
    ways = np.column_stack([answers @ of_no_use, others])
    good, bad = answers @ TRUSTED, ways.sum(axis=1)
    return np.log(np.maximum(bad, 1e-300)) - np.log(np.maximum(good, 1e-300)), ways


def _topics(
    b: votes.Ballots, crowd: Crowd, weights: np.ndarray, minority_share: float
) -> tuple[Contrast, np.ndarray, list[Groups]]:
    """(table, (rows,) bool of it that accuse nobody, disagreements)."""
    assert b.topic is not None
    table = contrasts(b.who, b.topic, crowd.by_skill)
    excused, groups = np.zeros(len(table.who), dtype=bool), []
    for group in topic_groups(table, _beside(b, crowd, weights, table), minority_share):
        golden = group.members[b.who] & (b.topic == group.topic) & b.on_golden
        right = int((b.choice[golden] == b.known[b.item[golden]]).sum())
        wrong = golden.sum() >= LEAST_GOLDEN and right < 0.5 * golden.sum()
        if not wrong:  # golden items decide
            excused |= (table.topic == group.topic) & (group.members[table.who] | group.open)
            groups.append(Groups(group.topic, group.share, group.people, group.members, right, int(golden.sum())))
    return table, excused, groups


def _beside(b: votes.Ballots, crowd: Crowd, weights: np.ndarray, table: Contrast) -> Beside:
    prior = crowd.mixture.weights[~TOLERATED]
    unreliable = logsumexp(crowd.evidence[:, ~TOLERATED] + np.log(np.maximum(prior, 1e-300)), axis=1)
    whole = np.bincount(table.who, table.votes, b.n_annotators) == b.per_annotator()
    return Beside(crowd.evidence[:, BY_SKILL], weights, unreliable, float(prior.sum()), whole)


def _knows_golden(b: votes.Ballots, by_skill: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(annotators,) log-likelihood of being honest on golden items alone; −∞ without golden or without other votes."""
    golden = b.on_golden
    paths = []
    for column, weight in zip(by_skill.T, weights, strict=True):
        reads = b.per_annotator(np.where(golden, np.log(column), 0.0))
        for unreliable in (np.full_like(column, np.log(0.5)), np.log1p(-column)):
            paths.append(reads + b.per_annotator(np.where(golden, 0.0, unreliable)) + np.log(weight / 2))
    n_golden = b.per_annotator(golden)
    both = (n_golden > 0) & (n_golden < b.per_annotator())
    return np.where(both, logsumexp(np.stack(paths), axis=0), -np.inf)
