"""Everything that votes say about annotators, each by its method in `tasks.stats`, in the order in which they build on
each other. Figures only: words are in `annotator_table.py`."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit
from threadpoolctl import threadpool_limits

from tasks.annotator_habits import Habits, habits
from tasks.crowd_agreement import crowd_agreement
from tasks.params import Annotators
from tasks.stats.ballots import Ballots
from tasks.stats.collusion import Collusion, find_groups, shared_items
from tasks.stats.dawid_skene import OneCoin, one_coin
from tasks.stats.false_discovery import bayesian_fdr, holm
from tasks.stats.full_dawid_skene import TwoCoin, two_coin
from tasks.stats.golden import golden_audit
from tasks.stats.intervals import wilson
from tasks.stats.pairwise_agreement import pairwise_agreement
from tasks.stats.response_model import Crowd, ResponseModel
from tasks.stats.sequential import Sequential, sequential_test
from tasks.stats.shared_views import shared_views
from tasks.stats.suspicion import LEAST_GOLDEN, WAYS, Groups, Suspicion, suspect
from tasks.stats.topic_contrast import LEAST_MEMBERS

# What another view looks like, of one person: golden items are those that all agree on.
LIKE_A_VIEW = ("guesses", "knows golden")


@dataclass(frozen=True)
class Golden:
    """(annotators,) golden votes, right ones, and who fails: by the exact test, or earlier by the sequential one."""

    votes: np.ndarray
    right: np.ndarray
    failed: np.ndarray
    sequential: Sequential | None


@dataclass(frozen=True)
class Findings:
    """All of it. Arrays are (annotators,); `agreements`: coefficients of the whole crowd."""

    ballots: Ballots
    crowd: Crowd
    collusion: Collusion
    suspicion: Suspicion
    golden: Golden
    habits: Habits
    informative: np.ndarray
    judged: np.ndarray
    unreliable: np.ndarray
    flag: np.ndarray
    log_odds: np.ndarray
    reliability: np.ndarray
    low: np.ndarray
    high: np.ndarray
    agreement: np.ndarray
    pair_agreement: float
    left_out: np.ndarray
    one_coin: np.ndarray
    two_coin: TwoCoin
    agreements: dict[str, Any]


@dataclass(frozen=True)
class _Beside:
    """What another core finds meanwhile: see the fields of `Findings`."""

    habits: Future[Habits]
    coins: Future[tuple[OneCoin, TwoCoin]]
    agreement: Future[tuple[np.ndarray, float]]
    agreements: Future[dict[str, Any]]


def find(b: Ballots, settings: Annotators) -> Findings:
    """Run every method on `b`, which holds at least one vote. What nothing waits for yet is left to a core beside."""
    level = settings.golden_level
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(1) as core:  # threads of BLAS would wait for that core
        pairs = core.submit(shared_items, b)
        core.submit(lambda: None if b.time is None else b.in_time)  # is held from then on
        alike, agreements = core.submit(pairwise_agreement, b), core.submit(crowd_agreement, b)
        model = ResponseModel(b)
        typical = model.fit()
        collusion = find_groups(model, pairs.result(), typical.spread, level)
        if (collusion.group >= 0).any():
            model.silence(collusion.group >= 0)
        crowd = model.judge()
        beside = _Beside(core.submit(habits, b, crowd, level), core.submit(_coins, b, crowd), alike, agreements)
        suspicion = suspect(model, crowd, lambda: beside.habits.result().cells, settings.minority_share)
        crowd = replace(crowd, by_skill=crowd.by_skill[:0].copy())  # no view, that would hold the largest array
        return _found(b, settings, crowd, collusion, suspicion, beside)


def _found(
    b: Ballots, settings: Annotators, crowd: Crowd, collusion: Collusion, suspicion: Suspicion, beside: _Beside
) -> Findings:
    """Who is accused, and how far everybody is to be trusted."""
    golden, colluding = _golden(b, settings.golden_level), collusion.group >= 0
    several = b.votes_of_items > 1
    informative = b.per_annotator(several[b.item] | b.on_golden)  # alone on an item, a vote is judged by nobody
    judged = informative >= settings.min_votes
    log_odds = np.where(judged, suspicion.log_odds, np.minimum(suspicion.log_odds, 0.0))
    unreliable = _accused(log_odds, judged, settings)
    otherwise = np.isin(np.argmax(suspicion.ways, axis=1), [WAYS.index(way) for way in LIKE_A_VIEW])
    views, log_odds = _views(b, crowd, log_odds, unreliable & otherwise & ~golden.failed & ~colluding, judged, settings)
    if views:
        unreliable = _accused(log_odds, judged, settings)
        suspicion = replace(suspicion, groups=suspicion.groups + views)
    log_odds = np.maximum(log_odds, np.where(colluding, -np.log(np.maximum(collusion.p_value, 1e-300)), -np.inf))
    one, two = beside.coins.result()
    reliability, spread = crowd.accuracy(suspicion.mixture.posterior, one.reliability, b.per_annotator())
    for view in views:  # among themselves: the crowd is no measure of another view
        reliability[view.members], spread[view.members] = _within(b, view.members)
    with np.errstate(invalid="ignore", divide="ignore"):
        left_out = b.per_annotator(crowd.right) / b.per_annotator()
    return Findings(
        b,
        crowd,
        collusion,
        suspicion,
        golden,
        beside.habits.result(),
        informative,
        judged,
        unreliable,
        unreliable | golden.failed | colluding,
        log_odds,
        reliability,
        np.clip(reliability - 1.96 * spread, 0, 1),
        np.clip(reliability + 1.96 * spread, 0, 1),
        *beside.agreement.result(),
        left_out,
        one.reliability,
        two,
        beside.agreements.result(),
    )


def _coins(b: Ballots, crowd: Crowd) -> tuple[OneCoin, TwoCoin]:
    """The models of Dawid and Skene, each from where the one before ends."""
    start, _ = crowd.accuracy(crowd.mixture.posterior, np.full(b.n_annotators, 0.5), b.per_annotator())
    one = one_coin(b.who, b.item, b.choice, b.known, start)
    return one, two_coin(b, one.reliability)


def _accused(log_odds: np.ndarray, judged: np.ndarray, settings: Annotators) -> np.ndarray:
    """(annotators,) bool: unreliable at the false-discovery rate."""
    accused = np.zeros(len(log_odds), dtype=bool)
    accused[judged] = bayesian_fdr(expit(log_odds[judged]), settings.max_false_discovery_rate)
    doubt = expit(-log_odds)
    return accused & (doubt <= settings.max_doubt)  # the rate is an average: it must not accuse a likely honest one


def _views(
    b: Ballots, crowd: Crowd, log_odds: np.ndarray, suspects: np.ndarray, judged: np.ndarray, settings: Annotators
) -> tuple[list[Groups], np.ndarray]:
    """(groups, log odds of being unreliable with what they explain): people among the suspects who see every item by a
    measure of their own, are enough to be no attack, and pass golden items as far as there are any."""
    people = int(judged.sum())
    least = max(LEAST_MEMBERS, settings.minority_share * people)
    found = []
    for holds in shared_views(b, crowd.right, suspects, settings.golden_level, least):
        members = holds > 0.5
        golden = np.flatnonzero(members[b.who] & b.on_golden)
        right = int((b.choice[golden] == b.known[b.item[golden]]).sum())
        if len(golden) < LEAST_GOLDEN or wilson(right, len(golden))[0] > 0.5:
            found.append(Groups(None, members.sum() / people, people, members, right, len(golden)))
            bad = expit(log_odds) * (1 - holds)
            log_odds = np.log(np.maximum(bad, 1e-300)) - np.log1p(-np.minimum(bad, 1 - 1e-16))
            log_odds = np.where(members, np.minimum(log_odds, 0.0), log_odds)
    return found, log_odds


def _within(b: Ballots, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(reliability, its standard error) of `members` (annotators,) bool, by their own votes alone."""
    rows = np.flatnonzero(members[b.who])
    who = np.searchsorted(np.flatnonzero(members), b.who[rows])
    item = np.unique(b.item[rows], return_inverse=True)[1]
    reliability = one_coin(who, item, b.choice[rows]).reliability
    return reliability, np.sqrt(reliability * (1 - reliability) / np.bincount(who))


def _golden(b: Ballots, level: float) -> Golden:
    rows = np.flatnonzero(b.on_golden)
    right = b.choice[rows] == b.known[b.item[rows]]
    votes = np.bincount(b.who[rows], minlength=b.n_annotators)
    correct = np.bincount(b.who[rows], right, b.n_annotators).astype(int)
    failed, _ = golden_audit(correct, votes, level / 2)  # half the level each for the test at the end and on the way
    sequential = None
    if len(rows):
        if b.time is not None:
            in_time = np.argsort(b.time[rows], kind="stable")
            rows, right = rows[in_time], right[in_time]
        sequential = sequential_test(b.who[rows], right, b.n_annotators, level / 2)
        tested = np.flatnonzero(votes > 0)
        failed = failed.copy()
        failed[tested] |= holm(sequential.p_value[tested], level / 2)
    return Golden(votes, correct, failed, sequential)
