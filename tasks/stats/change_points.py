"""An annotator who read until some vote, and then did not: evidence over every moment of change.

With ℓ_s(v) the log-likelihood of vote v under honest skill s and ℓ_u(v) under an unreliable class (guessing, turning
round), votes in order of time, and the moment τ uniform over BLOCKS blocks of the annotator's votes:

    evidence = log Σ_s w_s Σ_u ½ Σ_τ (1/|τ|) exp(Σ_{v ≤ τ} ℓ_s(v) + Σ_{v > τ} ℓ_u(v))

Product-partition form of a single change point (Barry and Hartigan 1993; Page 1954 for the maximum). O(votes).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from tasks.stats.ballots import by_annotator, sums

BLOCKS = 40
MARGIN = 2  # blocks at both ends in which no change is looked for


@dataclass(frozen=True)
class Change:
    """`evidence`: (annotators,) log-likelihood of a change; `moment`: its most probable place, as a share of votes."""

    evidence: np.ndarray
    moment: np.ndarray


def change_evidence(
    who: np.ndarray, n_annotators: int, order: np.ndarray, by_skill: np.ndarray, weights: np.ndarray
) -> Change:
    """`order`: (votes,) rows by annotator and time; `by_skill`: (votes, skills) probability of the vote that was cast;
    `weights`: (skills,) of honest skills."""
    cell = np.empty(len(order), dtype=np.int32)
    for people, rows in by_annotator(who, order, n_annotators):
        person = who[rows] - np.int32(people.start)
        counts = np.bincount(person, minlength=people.stop - people.start).astype(np.int32)
        rank = np.arange(len(rows), dtype=np.int32) - (np.cumsum(counts, dtype=np.int32) - counts)[person]
        block = (rank * np.float32(BLOCKS) / counts[person]).astype(np.int32)
        cell[rows] = who[rows] * np.int32(BLOCKS) + np.minimum(block, BLOCKS - 1)
    joint = np.full((n_annotators, BLOCKS - 2 * MARGIN + 1), -np.inf)
    inner = slice(MARGIN - 1, BLOCKS - MARGIN)
    guesses = np.log(0.5) * _cumulated(cell, None, n_annotators)
    for cast, weight in zip(by_skill.T, weights, strict=True):
        reads = _cumulated(cell, np.log(cast), n_annotators)
        for after in (guesses, _cumulated(cell, np.log1p(-cast), n_annotators)):
            path = reads[:, inner] + after[:, -1:] - after[:, inner] + np.log(weight / 2)
            joint = np.logaddexp(joint, path)
    moment = (MARGIN + np.argmax(joint, axis=1)) / BLOCKS
    return Change(logsumexp(joint, axis=1) - np.log(joint.shape[1]), moment)


def _cumulated(cell: np.ndarray, values: np.ndarray | None, n_annotators: int) -> np.ndarray:
    """(annotators, BLOCKS) sums of `values`, or counts, up to and with each block."""
    return np.cumsum(sums(cell, values, n_annotators * BLOCKS).reshape(n_annotators, BLOCKS), axis=1)
