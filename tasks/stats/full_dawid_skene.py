"""Full Dawid–Skene on two classes: each annotator errs in a way of their own on items of each class.

    P(vote 1 | truth 1) = a_j,   P(vote 0 | truth 0) = b_j,   P(truth 1) = π
    log odds of item i = logit π + Σ_{votes 1} log(a_j / (1 − b_j)) + Σ_{votes 0} log((1 − a_j) / b_j)

EM to the maximum a posteriori under Beta(4, 2) on each a_j and b_j (Dawid and Skene 1979). Golden items keep their
answer. It tells who is careless from who leans to one answer. O(votes) a step.
"""

from dataclasses import dataclass

import numpy as np

from tasks.stats.ballots import UNKNOWN, Ballots, add, by_item
from tasks.stats.dawid_skene import LIMIT, PRIOR

STEPS = 50
TOLERANCE = 1e-3


@dataclass(frozen=True)
class TwoCoin:
    """`right_on_one`, `right_on_zero`: (annotators,) MAP of a and b; `truth`: (items,) probability that it is 1."""

    right_on_one: np.ndarray
    right_on_zero: np.ndarray
    truth: np.ndarray


def two_coin(
    ballots: Ballots, reliability: np.ndarray, prior: tuple[float, float] = PRIOR, tolerance: float = TOLERANCE
) -> TwoCoin:
    """Fit, starting from a `reliability` (annotators,) on either class, such as the one-coin model's. `prior`: Beta's two
    parameters; (1, 1) gives the maximum of the likelihood alone. `tolerance`: of a step's largest move."""
    a, b = reliability.copy(), reliability.copy()
    known = ballots.known != UNKNOWN
    votes_one = ballots.per_annotator(ballots.choice == 1)
    votes = ballots.per_annotator()
    prevalence = 0.5
    prior_right, prior_all = prior[0] - 1, sum(prior) - 2
    for _ in range(STEPS):
        for_one, for_zero = np.log(a / (1 - b)), np.log((1 - a) / b)
        log_prior = np.log(prevalence / (1 - prevalence))
        truth = np.full(ballots.n_items, prevalence)
        is_one, both_one = np.zeros(ballots.n_annotators), np.zeros(ballots.n_annotators)
        for rows in by_item(ballots.item):
            who, item, one = ballots.who[rows], ballots.item[rows], ballots.choice[rows] == 1
            items = slice(int(item[0]), int(item[-1]) + 1)
            summed = np.bincount(item - items.start, np.where(one, for_one.take(who), for_zero.take(who)))
            log_odds = np.clip(summed + log_prior, -LIMIT, LIMIT)
            log_odds = np.where(known[items], (2.0 * ballots.known[items] - 1) * LIMIT, log_odds)
            truth[items] = 1 / (1 + np.exp(-log_odds))
            of_vote = truth.take(item)
            add(is_one, who, of_vote)
            add(both_one, who, of_vote * one)
        both_zero = votes - votes_one - is_one + both_one
        updated = (both_one + prior_right) / (is_one + prior_all)
        b_updated = (both_zero + prior_right) / (votes - is_one + prior_all)
        moved = max(float(np.abs(updated - a).max()), float(np.abs(b_updated - b).max()))
        a, b = np.clip(updated, 1e-6, 1 - 1e-6), np.clip(b_updated, 1e-6, 1 - 1e-6)
        prevalence = float(np.clip(truth.mean(), 0.01, 0.99))
        if moved < tolerance:
            break
    return TwoCoin(a, b, truth)
