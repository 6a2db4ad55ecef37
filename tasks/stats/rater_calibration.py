"""Stated confidence against accuracy: of the crowd, and of each annotator.

Expected calibration error over ten bins of confidence, ECE = Σ_b (n_b/n) |mean confidence − share right| (Naeini et
al. 2015), where a vote's being right is judged by the others' votes on its item. An annotator's overconfidence is mean
confidence minus share right. Being always sure is a habit that shows in the confidence alone: a mean that stands out
from the crowd's means (median and MAD, one-sided normal); it does not look at votes, so that it may say beforehand
whom to look at.

Drift: mean overconfidence in the later half of an annotator's votes minus that in the earlier half, as a two-sided Welch
z-test (Welch 1947): who slowly stops reading stays as sure as before. O(votes).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from tasks.stats.ballots import add, by_annotator, slices

BINS = 10
LEAST = 10
LEAST_SPREAD = 0.02


@dataclass(frozen=True)
class Calibration:
    """`ece` of the crowd; `curve`: rows (mean confidence, share right, votes); (annotators,) `overconfidence`, and `sure_p`
    of being sure more than people are; `drift` of overconfidence over time and its `drift_p`, NaN and 1 without times."""

    ece: float
    curve: list[tuple[float, float, int]]
    overconfidence: np.ndarray
    sure_p: np.ndarray
    drift: np.ndarray
    drift_p: np.ndarray


def calibration(
    who: np.ndarray, confidence: np.ndarray, right: np.ndarray, n_annotators: int, order: np.ndarray | None = None
) -> Calibration:
    """`confidence`: (votes,) from 0 to 1, NaN unknown; `right`: (votes,) probability of being right; `order`: rows by
    annotator and time, if times are known."""
    drift, drift_p = np.full(n_annotators, np.nan), np.ones(n_annotators)
    for people, cast in by_annotator(who, order, n_annotators) if order is not None else ():
        rows = cast[np.isfinite(confidence.take(cast))]
        person, over = who.take(rows) - people.start, confidence.take(rows) - right.take(rows)
        drift[people], drift_p[people] = _drift(person, over, people.stop - people.start)
    of_bin, of_person = np.zeros((3, BINS)), np.zeros((3, n_annotators))  # votes, stated, right; over what is right
    for part in slices(len(who)):
        known = np.isfinite(confidence[part])
        person, stated, truth = (v[part][known].astype(np.float64) for v in (who, confidence, right))
        bin_of = np.clip((stated * BINS).astype(int), 0, BINS - 1)
        for out, value in zip(of_bin, (np.ones(len(stated)), stated, truth), strict=True):
            add(out, bin_of, value)
        for out, value in zip(of_person, (np.ones(len(stated)), stated, stated - truth), strict=True):
            add(out, person, value)
    n, votes = of_bin[0].astype(int), of_person[0].astype(int)
    mean, share = of_bin[1:] / np.maximum(n, 1)
    curve = [(float(mean[k]), float(share[k]), int(n[k])) for k in np.flatnonzero(n)]
    ece = float((n * np.abs(mean - share)).sum() / max(1, n.sum()))
    over = np.full(n_annotators, np.nan)
    judged = votes >= LEAST
    over[judged] = (of_person[2] / np.maximum(votes, 1))[judged]
    p_values = np.ones(n_annotators)
    if judged.sum() >= 3:
        sure = (of_person[1] / np.maximum(votes, 1))[judged]
        centre = float(np.median(sure))
        spread = max(1.4826 * float(np.median(np.abs(sure - centre))), LEAST_SPREAD)
        p_values[judged] = ndtr(-(sure - centre) / spread)
    return Calibration(ece, curve, over, p_values, drift, drift_p)


def _drift(person: np.ndarray, over: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """((n,) later mean minus earlier mean, (n,) p-values) of `over`, (votes,) by person and time."""
    counts = np.bincount(person, minlength=n)
    rank = np.arange(len(person)) - (np.cumsum(counts) - counts)[person]
    half = 2 * person + (2 * rank >= counts[person])
    votes = np.bincount(half, minlength=2 * n).reshape(n, 2)
    mean = np.bincount(half, over, 2 * n).reshape(n, 2) / np.maximum(votes, 1)
    square = np.bincount(half, over.astype(np.float64) ** 2, 2 * n).reshape(n, 2) / np.maximum(votes, 1)
    error = ((square - mean**2) / np.maximum(votes - 1, 1)).sum(axis=1)
    drift, p_values = np.full(n, np.nan), np.ones(n)
    enough = (counts >= 2 * LEAST) & (error > 1e-12)
    drift[enough] = (mean[:, 1] - mean[:, 0])[enough]
    p_values[enough] = 2 * ndtr(-np.abs(drift[enough]) / np.sqrt(error[enough]))
    return drift, p_values
