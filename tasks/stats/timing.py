"""When votes were cast: impossible speed, bursts, night work, and tiring within a session.

A session is a run of an annotator's votes with pauses of at most PAUSE seconds; the gap before a vote of the same
session is the time taken for it. Speed: each annotator's median log gap, as a robust z-score against the crowd's
medians (median and MAD: Rousseeuw and Croux 1993), one-sided; what is fast is learned from the crowd. Tiring: slope of
"is right" on the log of minutes into the session, within annotators, as a z-score. O(votes log votes).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

PAUSE = 1800
LEAST_GAPS = 5
LEAST_SPREAD = 0.2  # of log gaps between annotators: crowds that are alike to the second still differ by a fifth
NIGHT = (0, 5)  # hours, in the time zone of the file


@dataclass(frozen=True)
class Timing:
    """(annotators,) each: `gap` median seconds for a vote (NaN unknown); `fast_p` p-value of being faster than people
    are; `tiring_p` one-sided p-value of getting worse within sessions; `night` votes at night, of `dated` ones; `sessions`."""

    gap: np.ndarray
    fast_p: np.ndarray
    tiring_p: np.ndarray
    night: np.ndarray
    dated: np.ndarray
    sessions: np.ndarray


def timing(who: np.ndarray, time: np.ndarray, right: np.ndarray, order: np.ndarray, n_annotators: int) -> Timing:
    """`time`: (votes,) seconds, −1 unknown; `right`: (votes,) probability of being right, by the others; `order`: rows
    by annotator and time."""
    order = order[time[order] >= 0]
    person, at = who[order], time[order]
    votes = np.bincount(person, minlength=n_annotators)
    gap = np.minimum(np.diff(at, prepend=at[:1]), PAUSE + 1).astype(np.int16)  # small types: this is done to all votes
    within = np.r_[False, person[1:] == person[:-1]] & (gap <= PAUSE) & (gap >= 0)
    in_session = person[within]
    medians = _median_by(in_session, np.log(np.maximum(gap[within], 0.5, dtype=np.float32)), n_annotators)
    gaps = np.bincount(in_session, minlength=n_annotators)
    known = (gaps >= LEAST_GAPS) & np.isfinite(medians)
    fast_p = np.ones(n_annotators)
    if known.sum() >= 3:
        centre = float(np.median(medians[known]))
        spread = max(1.4826 * float(np.median(np.abs(medians[known] - centre))), LEAST_SPREAD)
        fast_p[known] = ndtr((medians[known] - centre) / spread)
    hour = (at // 3600 % 24).astype(np.int8)
    night = np.bincount(person[(hour >= NIGHT[0]) & (hour < NIGHT[1])], minlength=n_annotators)
    start = np.maximum.accumulate(np.where(within, np.int32(0), np.arange(len(at), dtype=np.int32)))
    at -= at[start]
    minutes = np.log1p((at / 60).astype(np.float32))
    return Timing(
        np.where(known, np.exp(medians), np.nan),
        fast_p,
        _falling(person, minutes, right[order], n_annotators),
        night,
        votes,
        np.bincount(person[~within], minlength=n_annotators),
    )


def _median_by(group: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """(n,) median of the `values` of each group (lower one of two), NaN for an empty group."""
    order = np.lexsort((values, group))
    counts = np.bincount(group, minlength=n)
    middle = np.cumsum(counts) - counts + np.maximum(counts - 1, 0) // 2
    out = np.full(n, np.nan)
    filled = counts > 0
    out[filled] = values[order][middle[filled]]
    return out


def _falling(person: np.ndarray, x: np.ndarray, y: np.ndarray, n: int) -> np.ndarray:
    """(n,) one-sided p-values of a falling regression of y on x within each person."""
    counts = np.bincount(person, minlength=n)
    mean_x, mean_y = ((np.bincount(person, v, n) / np.maximum(counts, 1)).astype(np.float32) for v in (x, y))
    dx, dy = x - mean_x[person], y - mean_y[person]
    sxx, sxy, syy = (np.bincount(person, v, n) for v in (dx * dx, dx * dy, dy * dy))
    known = (counts >= 10) & (sxx > 1e-9) & (syy > 1e-9)
    p_values = np.ones(n)
    z = sxy[known] / np.sqrt(sxx[known] * syy[known] / counts[known])
    p_values[known] = ndtr(z)
    return p_values
