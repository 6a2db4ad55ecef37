"""An annotator who did not read for some time, and read for the rest of it: evidence over every such stretch of votes.

With ℓ_s(v) the log-likelihood of vote v under honest skill s and ℓ_u(v) under an unreliable class (guessing, turning
round), votes in order of time and cut into BLOCKS blocks, and the stretch (τ, υ] uniform over those of its pattern T:

    evidence = log Σ_s w_s Σ_u ½ Σ_{(τ, υ) ∈ T} (1/|T|) exp(Σ_{v ≤ τ} ℓ_s(v) + Σ_{τ < v ≤ υ} ℓ_u(v) + Σ_{v > υ} ℓ_s(v))

The stretch goes on to the end (changed), is there from the beginning (began), or neither (lapsed; with boundaries at every
third block). Product-partition form of one or two change points (Barry and Hartigan 1993; Page 1954 for the maximum).
O(votes + annotators · BLOCKS²).
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tasks.stats.ballots import by_annotator, sums

BLOCKS = 40
MARGIN = 2  # blocks: the least that a stretch has, and what is before or after it
MOMENTS = np.arange(MARGIN, BLOCKS - MARGIN + 1)
COARSE = MOMENTS[::3]  # there are many pairs, and few votes in a block
STRETCHES = {  # (begins, ends) in blocks
    "changed": np.stack([MOMENTS, np.full_like(MOMENTS, BLOCKS)]),
    "began": np.stack([np.zeros_like(MOMENTS), MOMENTS]),
    "lapsed": COARSE[np.stack(np.triu_indices(len(COARSE), 1))],
}
PATTERNS = tuple(STRETCHES)


@dataclass(frozen=True)
class Change:
    """`evidence`: (annotators, PATTERNS) log-likelihood of a stretch; `stretch`: (annotators, PATTERNS, 2) most probable
    begin and end of it, as shares of the votes."""

    evidence: np.ndarray
    stretch: np.ndarray


def change_evidence(
    who: np.ndarray, n_annotators: int, order: np.ndarray, by_skill: np.ndarray, weights: np.ndarray
) -> Change:
    """`order`: (votes,) rows by annotator and time; `by_skill`: (votes, skills) probability of the vote that was cast;
    `weights`: (skills,) of honest skills."""
    evidence = np.empty((n_annotators, len(PATTERNS)))
    stretch = np.empty((n_annotators, len(PATTERNS), 2))
    begins, ends = every = np.concatenate(list(STRETCHES.values()), axis=1)
    cuts = np.cumsum([0, *(of.shape[1] for of in STRETCHES.values())])
    for people, rows in by_annotator(who, order, n_annotators):
        n = people.stop - people.start
        cell = _cells(who[rows] - np.int32(people.start), n)
        highest, total = np.full((n, len(begins)), -np.inf), np.zeros((n, len(begins)))
        guesses = np.log(0.5) * _until(cell, None, n)
        for skill, weight in enumerate(weights):
            cast = by_skill[rows, skill]
            reads = _until(cell, np.log(cast), n)
            for unread in (guesses, _until(cell, np.log1p(-cast), n)):
                gain = unread - reads
                _add(highest, total, gain[:, ends] - gain[:, begins] + (reads[:, -1:] + np.log(weight / 2)))
        for at, (first, last) in enumerate(pairwise(cuts)):
            high = highest[:, first:last].max(axis=1, keepdims=True)
            each = total[:, first:last] * np.exp(highest[:, first:last] - high)
            evidence[people, at] = high[:, 0] + np.log(each.mean(axis=1))
            stretch[people, at] = every[:, first + each.argmax(axis=1)].T / BLOCKS
    return Change(evidence, stretch)


def _cells(person: np.ndarray, n: int) -> np.ndarray:
    """(votes,) person · BLOCKS + block of each vote; `person`: (votes,) codes below n, each's votes in order."""
    counts = np.bincount(person, minlength=n).astype(np.int32)
    rank = np.arange(len(person), dtype=np.int32) - (np.cumsum(counts, dtype=np.int32) - counts)[person]
    block = (rank * np.float32(BLOCKS) / counts[person]).astype(np.int32)
    cell: np.ndarray = person * np.int32(BLOCKS) + np.minimum(block, BLOCKS - 1)
    return cell


def _until(cell: np.ndarray, values: np.ndarray | None, n: int) -> np.ndarray:
    """(n, BLOCKS + 1) sums of `values`, or counts, over the blocks before each boundary."""
    until = np.zeros((n, BLOCKS + 1))
    np.cumsum(sums(cell, values, n * BLOCKS).reshape(n, BLOCKS), axis=1, out=until[:, 1:])
    return until


def _add(highest: np.ndarray, total: np.ndarray, path: np.ndarray) -> None:
    """Add exp(path) to exp(highest) · total, and keep `highest` the largest that was added: quicker than logaddexp."""
    higher = np.maximum(highest, path)
    total *= np.exp(highest - higher)
    total += np.exp(path - higher)
    highest[:] = higher
