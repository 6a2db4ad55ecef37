"""When votes were cast: impossible speed, bursts, night work, and tiring within a session.

A session is a run of an annotator's votes with pauses of at most PAUSE seconds; the gap before a vote of the same
session is the time taken for it. Speed: each annotator's median log gap, as a robust z-score against the crowd's
medians (median and MAD: Rousseeuw and Croux 1993), one-sided; what is fast is learned from the crowd. Tiring: slope of
"is right" on the log of minutes into the session, within annotators, as a z-score. O(votes log votes).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from tasks.stats.ballots import by_annotator

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
    medians, fast_p, tiring_p = (np.full(n_annotators, value) for value in (np.nan, 1.0, 1.0))
    gaps, night, votes, sessions = (np.zeros(n_annotators, dtype=np.int64) for _ in range(4))
    for people, cast in by_annotator(who, order, n_annotators):
        rows = cast[time.take(cast) >= 0]
        n = people.stop - people.start
        of = _of_some(who.take(rows) - people.start, time.take(rows), right.take(rows), n)
        medians[people], gaps[people], tiring_p[people], night[people], votes[people], sessions[people] = of
    known = (gaps >= LEAST_GAPS) & np.isfinite(medians)
    if known.sum() >= 3:
        centre = float(np.median(medians[known]))
        spread = max(1.4826 * float(np.median(np.abs(medians[known] - centre))), LEAST_SPREAD)
        fast_p[known] = ndtr((medians[known] - centre) / spread)
    return Timing(np.where(known, np.exp(medians), np.nan), fast_p, tiring_p, night, votes, sessions)


def _of_some(person: np.ndarray, at: np.ndarray, right: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
    """(n,) each: median log gap, gaps, p-value of tiring, votes at night, votes and sessions; of votes by person and
    time."""
    gap = np.minimum(np.diff(at, prepend=at[:1]), PAUSE + 1)
    within = np.r_[False, person[1:] == person[:-1]] & (gap <= PAUSE) & (gap >= 0)
    in_session = person[within]
    medians = _median_by(in_session, np.log(np.maximum(gap[within], 0.5, dtype=np.float32)), n)
    hour = at // 3600 % 24
    start = np.maximum.accumulate(np.where(within, 0, np.arange(len(at))))
    minutes = np.log1p(((at - at.take(start)) / 60).astype(np.float32))
    return (
        medians,
        np.bincount(in_session, minlength=n),
        _falling(person, minutes, right, n),
        np.bincount(person[(hour >= NIGHT[0]) & (hour < NIGHT[1])], minlength=n),
        np.bincount(person, minlength=n),
        np.bincount(person[~within], minlength=n),
    )


def _median_by(group: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """(n,) median of the float32 `values` of each group (lower one of two), NaN for an empty group."""
    bits = values.view(np.int32).astype(np.int64)
    bits ^= (
        bits >> 31
    ) & 0x7FFFFFFF  # as numbers are ordered, so are their bits, but negative ones the other way round
    key = (group.astype(np.int64) << 32) + (bits + (1 << 31))
    key.sort()
    counts = np.bincount(group, minlength=n)
    filled = counts > 0
    middle = (np.cumsum(counts) - counts + np.maximum(counts - 1, 0) // 2)[filled]
    found = (key[middle] & 0xFFFFFFFF) - (1 << 31)
    found ^= (found >> 31) & 0x7FFFFFFF
    out = np.full(n, np.nan)
    out[filled] = found.astype(np.int32).view(np.float32)
    return out


def _falling(person: np.ndarray, x: np.ndarray, y: np.ndarray, n: int) -> np.ndarray:
    """(n,) one-sided p-values of a falling regression of y on x within each person."""
    counts = np.bincount(person, minlength=n)
    mean_x, mean_y = ((np.bincount(person, v, n) / np.maximum(counts, 1)).astype(np.float32) for v in (x, y))
    dx, dy = x - mean_x.take(person), y - mean_y.take(person)
    sxx, sxy, syy = (np.bincount(person, v, n) for v in (dx * dx, dx * dy, dy * dy))
    known = (counts >= 10) & (sxx > 1e-9) & (syy > 1e-9)
    p_values = np.ones(n)
    z = sxy[known] / np.sqrt(sxx[known] * syy[known] / counts[known])
    p_values[known] = ndtr(z)
    return p_values
