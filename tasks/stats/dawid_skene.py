"""One-coin Dawid–Skene: each annotator is right with a probability of their own, whatever the item.

    log odds of item i = Σ_j ±log(p_j / (1 − p_j))   (+ where j chose 1)
    p_j = (a − 1 + Σ_i P(vote of j on i is right)) / (a + b − 2 + n_j)

EM to the maximum a posteriori under Beta(a, b) on p_j and a uniform prior on each item (Dawid and Skene 1979; one-coin
form after Zhang et al. 2014). Golden items keep their known answer, and are where EM starts. O(votes) a step.
"""

from dataclasses import dataclass

import numpy as np

from tasks.stats.ballots import add, by_item, sums

PRIOR = (4.0, 2.0)  # annotators are more often right than wrong; worth four votes, so that data decides soon
STEPS = 100
TOLERANCE = 1e-3
LIMIT = 30.0  # log odds of a golden item, and the most that votes may say


@dataclass(frozen=True)
class OneCoin:
    """`reliability`, `right`, `counts`: (annotators,) MAP probability, expected right votes, votes."""

    reliability: np.ndarray
    right: np.ndarray
    counts: np.ndarray


def one_coin(
    annotator: np.ndarray,
    item: np.ndarray,
    choice: np.ndarray,
    golden: np.ndarray | None = None,
    start: np.ndarray | None = None,
) -> OneCoin:
    """Fit to votes given as integer codes, (votes,) each; `golden`: (items,) 1 or 0 where known, −1 elsewhere;
    `start`: (annotators,) reliability to start from, by default what golden items say."""
    if (item[1:] < item[:-1]).any():
        order = np.argsort(item, kind="stable")
        annotator, item, choice = annotator[order], item[order], choice[order]
    n_annotators, n_items = int(annotator.max()) + 1, int(item.max()) + 1
    counts = sums(annotator, None, n_annotators).astype(np.float64)
    known = np.zeros(n_items) if golden is None else np.where(golden < 0, 0.0, (2.0 * golden - 1.0) * LIMIT)
    a, b = PRIOR
    if start is None:  # golden items say where: where most annotators invert, EM from a common start would believe them
        right, asked = (np.zeros(n_annotators) for _ in range(2))
        for rows in by_item(item):
            of, sign = known[item[rows]], 2.0 * choice[rows] - 1.0
            add(right, annotator[rows], sign == np.sign(of))
            add(asked, annotator[rows], of != 0)
        reliability = (a - 1 + right) / (a + b - 2 + asked)
    else:
        reliability = np.clip(start, 1e-3, 1 - 1e-3)
    for _ in range(STEPS):
        right = np.zeros(n_annotators)
        for rows in by_item(item):
            sign = 2.0 * choice[rows] - 1.0
            log_odds = _log_odds(reliability, annotator[rows], item[rows], sign, known)
            add(right, annotator[rows], 1.0 / (1.0 + np.exp(-sign * log_odds)))
        updated = (a - 1 + right) / (a + b - 2 + counts)
        moved = float(np.abs(updated - reliability).max())
        reliability = updated
        if moved < TOLERANCE:
            break
    return OneCoin(reliability, right, counts)


def _log_odds(
    reliability: np.ndarray, annotator: np.ndarray, item: np.ndarray, sign: np.ndarray, known: np.ndarray
) -> np.ndarray:
    """(votes,) log odds of each vote's item, of whole items."""
    evidence, first = np.log(reliability / (1 - reliability)), int(item[0])
    summed = np.bincount(item - first, weights=sign * evidence.take(annotator))
    golden = known[first : int(item[-1]) + 1]
    log_odds: np.ndarray = np.where(golden != 0, golden, np.clip(summed, -LIMIT, LIMIT)).take(item - first)
    return log_odds
