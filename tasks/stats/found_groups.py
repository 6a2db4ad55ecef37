"""Groups of people that nobody declared, found by their votes: a mixture of schools, each with an answer of its own to every item.

With z_j the school of person j, t_ik ∈ {0, 1} the answer of school k to item i, uniform before any vote, and π_k the schools' sizes,

    P(y_ij | z_j = k) = a if y_ij = t_ik, else 1 − a

EM over z and t (schools of thought: Tian and Zhu 2012; reward models by EM over groups of people: Chakraborty et al. 2024). What a
vote says of its own voter is read against the others' votes alone, or everybody would be a school of his own:

    logit P(t_ik | all but j) = Σ_{l ≠ j} P(z_l = k) (2 y_il − 1) log(a / (1 − a))

`gain` is by how much that predicts a vote better than one school of everybody does, nats a vote; the best of several starts counts. O(votes ×
schools) a step.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logsumexp

STARTS, STEPS, TOLERANCE = 12, 100, 1e-5
ACCURACY = 0.8  # of a member's vote, before any is seen
BOUNDS = (0.55, 0.99)
FEW = 1.0  # people whom a school has before anybody is seen


@dataclass(frozen=True)
class FoundGroups:
    """`member`: (people, groups) probability, the largest group first; `gain` over one group, nats a vote."""

    member: np.ndarray
    gain: float


def found_groups(person: np.ndarray, item: np.ndarray, choice: np.ndarray, groups: int) -> FoundGroups:
    """`person`, `item`: (votes,) codes from 0; `choice`: (votes,) 1 or 0. The same votes give the same groups."""
    people, sign = int(person.max()) + 1, 2.0 * choice - 1
    rng = np.random.default_rng(0)
    alone, _ = _fitted(person, item, sign, np.ones((people, 1)))
    tries = [_fitted(person, item, sign, rng.dirichlet(np.ones(groups), people)) for _ in range(STARTS)]
    best, member = max(tries, key=lambda found: found[0])
    order = np.argsort(-member.sum(axis=0), kind="stable")
    return FoundGroups(member[:, order], (best - alone) / len(person))


def _fitted(person: np.ndarray, item: np.ndarray, sign: np.ndarray, member: np.ndarray) -> tuple[float, np.ndarray]:
    """(log-likelihood of every vote by the others' votes, membership) from one start."""
    accuracy, before, total = ACCURACY, -np.inf, -np.inf
    people, items, groups = len(member), int(item.max()) + 1, member.shape[1]
    for _ in range(STEPS):
        weight = np.log(accuracy / (1 - accuracy))
        said = member[person] * (sign * weight)[:, None]
        odds = np.stack([np.bincount(item, said[:, k], items) for k in range(groups)], axis=1)
        agrees = expit(sign[:, None] * (odds[item] - said))  # that the school's answer is this vote, by the others
        vote = np.log(accuracy * agrees + (1 - accuracy) * (1 - agrees))
        of = np.stack([np.bincount(person, vote[:, k], people) for k in range(groups)], axis=1)
        of += np.log((member.sum(axis=0) + FEW) / (people + groups * FEW))
        each = logsumexp(of, axis=1)
        total, member = float(each.sum()), np.exp(of - each[:, None])
        right = accuracy * agrees / (accuracy * agrees + (1 - accuracy) * (1 - agrees))
        accuracy = float(np.clip((member[person] * right).sum() / len(person), *BOUNDS))
        if abs(total - before) < TOLERANCE * len(person):
            break
        before = total
    return total, member
