"""One-coin Dawid–Skene: each annotator is right with a probability of their own, whatever the item.

    log odds of item i = Σ_j ±log(p_j / (1 − p_j))   (+ where j chose 1)
    p_j = (a − 1 + Σ_i P(vote of j on i is right)) / (a + b − 2 + n_j)

EM to the maximum a posteriori under Beta(a, b) on p_j and a uniform prior on each item (Dawid and Skene 1979; one-coin
form after Zhang et al. 2014). Golden items keep their known answer, and are where EM starts. O(votes) a step.
"""

from dataclasses import dataclass

import numpy as np

PRIOR = (4.0, 2.0)  # annotators are more often right than wrong; worth four votes, so that data decides soon
STEPS = 100
TOLERANCE = 1e-3
LIMIT = 30.0  # log odds of a golden item, and the most that votes may say


@dataclass(frozen=True)
class OneCoin:
    """`reliability`, `right`, `counts`: (annotators,) MAP probability, expected right votes, votes. `own_left_out`:
    (votes,) probability that a vote is right, judged by the others' votes on its item alone."""

    reliability: np.ndarray
    right: np.ndarray
    counts: np.ndarray
    own_left_out: np.ndarray


def one_coin(
    annotator: np.ndarray,
    item: np.ndarray,
    choice: np.ndarray,
    golden: np.ndarray | None = None,
    start: np.ndarray | None = None,
) -> OneCoin:
    """Fit to votes given as integer codes, (votes,) each; `golden`: (items,) 1 or 0 where known, −1 elsewhere;
    `start`: (annotators,) reliability to start from, by default what golden items say."""
    n_annotators, n_items = int(annotator.max()) + 1, int(item.max()) + 1
    sign = 2.0 * choice - 1.0
    counts = np.bincount(annotator, minlength=n_annotators).astype(np.float64)
    known = np.zeros(n_items) if golden is None else np.where(golden < 0, 0.0, (2.0 * golden - 1.0) * LIMIT)
    a, b = PRIOR
    # Golden items say where to start: where most annotators invert, EM from a common start would believe them.
    on_known = known[item] != 0
    right_on_known = np.bincount(annotator, weights=on_known & (sign == np.sign(known[item])), minlength=n_annotators)
    n_known = np.bincount(annotator, weights=on_known, minlength=n_annotators)
    reliability = (a - 1 + right_on_known) / (a + b - 2 + n_known)
    if start is not None:
        reliability = np.clip(start, 1e-3, 1 - 1e-3)
    for _ in range(STEPS):
        log_odds = _item_log_odds(reliability, annotator, item, sign, n_items, known)
        correct = 1.0 / (1.0 + np.exp(-sign * log_odds[item]))
        right = np.bincount(annotator, weights=correct, minlength=n_annotators)
        updated = (a - 1 + right) / (a + b - 2 + counts)
        moved = float(np.abs(updated - reliability).max())
        reliability = updated
        if moved < TOLERANCE:
            break
    log_odds = _item_log_odds(reliability, annotator, item, sign, n_items, known)
    own = sign * np.log(reliability / (1 - reliability))[annotator] * (known[item] == 0)
    others = np.clip(log_odds[item] - own, -LIMIT, LIMIT)
    return OneCoin(reliability, right, counts, 1.0 / (1.0 + np.exp(-sign * others)))


def _item_log_odds(
    reliability: np.ndarray, annotator: np.ndarray, item: np.ndarray, sign: np.ndarray, n_items: int, known: np.ndarray
) -> np.ndarray:
    evidence = np.log(reliability / (1 - reliability))
    summed = np.bincount(item, weights=sign * evidence[annotator], minlength=n_items)
    return np.where(known != 0, known, np.clip(summed, -LIMIT, LIMIT))
