"""An annotator who did not read for some time, and read for the rest of it: evidence over every such stretch of votes.

With ℓ_s(v) the log-likelihood of vote v under honest skill s and ℓ_u(v) under an unreliable class (guessing, turning
round), votes in order of time and cut into BLOCKS blocks, and the stretch (τ, υ] uniform over those of its pattern T:

    evidence = log Σ_s w_s Σ_u ½ Σ_{(τ, υ) ∈ T} (1/|T|) exp(Σ_{v ≤ τ} ℓ_s(v) + Σ_{τ < v ≤ υ} ℓ_u(v) + Σ_{v > υ} ℓ_s(v))

The stretch goes on to the end (changed), is there from the beginning (began), or neither (lapsed; with boundaries at every
third block). Product-partition form of one or two change points (Barry and Hartigan 1993; Page 1954 for the maximum).
O(votes + annotators · BLOCKS²).
"""

from dataclasses import dataclass

import numpy as np

from tasks.stats.ballots import by_annotator, sums
from tasks.stats.in_order import in_order

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
BOUNDS = np.concatenate(list(STRETCHES.values()), axis=1)


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

    def judged(part: tuple[slice, np.ndarray]) -> tuple[slice, np.ndarray, np.ndarray]:
        people, rows = part
        n = people.stop - people.start
        highest, total = _over_skills(
            _cells(who.take(rows) - np.int32(people.start), n), n, by_skill.take(rows, axis=0), weights
        )
        return people, *_over_stretches(highest, total)

    for people, *found in in_order(judged, by_annotator(who, order, n_annotators)):
        evidence[people], stretch[people] = found
    return Change(evidence, stretch)


def _over_skills(cell: np.ndarray, n: int, by_skill: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """exp(highest) · total, (n, stretches) each, is the likelihood of each stretch over all skills and ways not to read."""
    begins, ends = BOUNDS
    highest, total = np.full((n, len(begins)), -np.inf), np.zeros((n, len(begins)))
    guesses = np.log(0.5) * _until(cell, None, n)
    for cast, weight in zip(by_skill.T, weights, strict=True):
        reads = _until(cell, np.log(cast), n)
        for unread in (guesses, _until(cell, np.log1p(-cast), n)):
            gain = unread - reads
            _add(highest, total, gain[:, ends] - gain[:, begins] + (reads[:, -1:] + np.log(weight / 2)))
    return highest, total


def _over_stretches(highest: np.ndarray, total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((n, PATTERNS) log-likelihood of each pattern, (n, PATTERNS, 2) its most probable stretch)."""
    evidence, stretch, first = [], [], 0
    for of in STRETCHES.values():
        part = slice(first, first + of.shape[1])
        high = highest[:, part].max(axis=1, keepdims=True)
        each = total[:, part] * np.exp(highest[:, part] - high)
        evidence.append(high[:, 0] + np.log(each.mean(axis=1)))
        stretch.append(of[:, each.argmax(axis=1)].T / BLOCKS)
        first = part.stop
    return np.stack(evidence, axis=1), np.stack(stretch, axis=1)


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
