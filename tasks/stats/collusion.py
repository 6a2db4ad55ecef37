"""Pairs and groups that agree more than two careful people can.

For two annotators who share m items, honest answers are independent given the item: on item i they agree with
probability a_i = E_x[p(x)² + (1 − p(x))²] at most, where p is the response of a highly skilled annotator and x has the
posterior that the votes of *others*, outside the suspected group, give it. Copying shows as more agreement than Σ a_i.
First every pair with enough shared items is tested with a_i of an average item (exact binomial, Holm over the pairs
tested); significant pairs are joined into groups; then every pair is tested again with its own items' a_i (normal
approximation, conservative in this tail, Holm). Dawid and Skene's independence assumption (1979) is the null;
"copying" as in Dong, Berti-Equille and Srivastava (2009).

Pairs are counted item by item: O(Σ votes per item²), kept linear by comparing, on items with more than CROWDED votes,
only annotators of the same block of CROWDED.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.special import bdtrc, expit, ndtr

from tasks.stats.ballots import Ballots, by_item
from tasks.stats.false_discovery import holm
from tasks.stats.response_model import ResponseModel

CROWDED = 64
LEAST_SHARED = 8  # fewer shared items cannot be significant among many pairs
PENDING = 1 << 20  # meetings that are held until they are counted
HIGH_SKILL = 2.0  # spreads above the typical skill


@dataclass(frozen=True)
class Collusion:
    """`group`: (annotators,) number of the group, −1 for none; `p_value`: of the annotator's surest pair; `shared`,
    `agreed`: items of that pair."""

    group: np.ndarray
    p_value: np.ndarray
    shared: np.ndarray
    agreed: np.ndarray


@dataclass(frozen=True)
class Pairs:
    """`one`, `other`: (pairs,) annotators; `shared`, `agreed`: items both voted on, and of these, voted alike."""

    one: np.ndarray
    other: np.ndarray
    shared: np.ndarray
    agreed: np.ndarray


def find_groups(model: ResponseModel, pairs: Pairs, spread: float, level: float) -> Collusion:
    """Groups significant at family-wise `level`; `pairs`: of `shared_items`; `spread`: of honest skills."""
    n = model.ballots.n_annotators
    result = Collusion(np.full(n, -1), np.ones(n), np.zeros(n, dtype=int), np.zeros(n, dtype=int))
    if len(pairs.one) == 0:
        return result
    agree = _agreement(model.clarity, 1 + HIGH_SKILL * spread)
    first = bdtrc(pairs.agreed - 1.0, pairs.shared, float(model.prior @ agree))
    candidates = np.flatnonzero(holm(first, level))
    if len(candidates) == 0:
        return result
    label = _joined(pairs.one[candidates], pairs.other[candidates], n)
    second = _given_others(model, pairs, candidates, label, agree)
    sure = candidates[holm(second, level)]
    p_of = dict(zip(candidates.tolist(), second.tolist(), strict=True))
    for k in sorted(sure, key=lambda k: -p_of[k]):
        for j in (pairs.one[k], pairs.other[k]):
            result.p_value[j], result.shared[j], result.agreed[j] = p_of[k], pairs.shared[k], pairs.agreed[k]
    if len(sure):
        label = _joined(pairs.one[sure], pairs.other[sure], n)
        member = result.p_value < 1
        result.group[member] = np.unique(label[member], return_inverse=True)[1]
    return result


def shared_items(ballots: Ballots) -> Pairs:
    """Pairs of annotators with at least LEAST_SHARED items in common."""
    n = ballots.n_annotators
    buckets = 1 << int(np.ceil(np.log2(2 * len(ballots.who) + 2)))
    crowd = np.zeros(buckets, dtype=np.int32)  # a pair's bucket holds at least as many items as the pair shares
    for key, _ in _meetings(ballots):
        np.add.at(crowd, key & (buckets - 1), np.int32(1))
    pairs = Pairs(*(np.zeros(0, dtype=np.int64),) * 4)
    keys, alike = [], []
    for key, agreed in _meetings(ballots):
        kept = crowd[key & (buckets - 1)] >= LEAST_SHARED
        keys.append(key[kept])
        alike.append(agreed[kept])
        if sum(map(len, keys)) > PENDING:
            pairs, keys, alike = _with(pairs, keys, alike, n), [], []
    pairs = _with(pairs, keys, alike, n)
    kept = pairs.shared >= LEAST_SHARED
    return Pairs(pairs.one[kept], pairs.other[kept], pairs.shared[kept], pairs.agreed[kept])


def _with(pairs: Pairs, keys: list[np.ndarray], alike: list[np.ndarray], n: int) -> Pairs:
    """The pairs with more meetings, in order."""
    pair, position = np.unique(np.concatenate([pairs.one * n + pairs.other, *keys]), return_inverse=True)
    met = np.ones(len(position), dtype=np.int64)
    met[: len(pairs.shared)] = pairs.shared
    shared = np.bincount(position, met, len(pair)).astype(np.int64)
    agreed = np.bincount(position, np.concatenate([pairs.agreed, *alike]), len(pair)).astype(np.int64)
    return Pairs(pair // n, pair % n, shared, agreed)


def _meetings(ballots: Ballots) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(key of the pair, whether they agree) for all pairs of votes on an item, one distance between rows at a time, for
    some items after others."""
    crowded = ballots.votes_of_items > CROWDED
    for rows in by_item(ballots.item):
        item, who, choice = ballots.item[rows], ballots.who[rows].astype(np.int64), ballots.choice[rows]
        block = np.where(crowded[item], who // CROWDED, 0)
        left = np.arange(len(item) - 1)
        distance = 1
        while len(left):
            right = left + distance
            together = (item.take(left) == item.take(right)) & (block.take(left) == block.take(right))
            left, right = left[together], right[together]
            if len(left):
                yield who.take(left) * ballots.n_annotators + who.take(right), choice.take(left) == choice.take(right)
            distance += 1
            left = left[left + distance < len(item)]


def _agreement(clarity: np.ndarray, skill: float) -> np.ndarray:
    p = expit(skill * clarity)
    return p**2 + (1 - p) ** 2


def _joined(one: np.ndarray, other: np.ndarray, n: int) -> np.ndarray:
    """(annotators,) labels of connected components."""
    graph = coo_matrix((np.ones(len(one)), (one, other)), shape=(n, n))
    label: np.ndarray = connected_components(graph, directed=False)[1]
    return label


def _given_others(
    model: ResponseModel, pairs: Pairs, candidates: np.ndarray, label: np.ndarray, agree: np.ndarray
) -> np.ndarray:
    """(candidates,) p-values of the agreement, given what annotators outside the group say about the items."""
    b = model.ballots
    p_values = np.ones(len(candidates))
    ends = np.r_[model.starts[1:], len(b.who)]
    suspected = np.zeros(b.n_annotators, dtype=bool)
    suspected[pairs.one[candidates]] = suspected[pairs.other[candidates]] = True
    by_group = np.flatnonzero(suspected[b.who])
    by_group = by_group[np.argsort(label[b.who[by_group]], kind="stable")]
    groups, first = np.unique(label[b.who[by_group]], return_index=True)
    for group, mine in zip(groups, np.split(by_group, first[1:]), strict=True):
        items = np.unique(b.item[mine])
        voters = np.concatenate([np.arange(model.starts[i], ends[i]) for i in items])
        voters = voters[label[b.who[voters]] != group]
        expected = model.item_posterior(voters, items) @ agree
        of_member = {m: b.item[mine[b.who[mine] == m]] for m in np.unique(b.who[mine])}
        for k in np.flatnonzero(label[pairs.one[candidates]] == group):
            pair = candidates[k]
            common = np.intersect1d(of_member[pairs.one[pair]], of_member[pairs.other[pair]], assume_unique=True)
            a = expected[np.searchsorted(items, common)]
            z = (pairs.agreed[pair] - 0.5 - a.sum()) / np.sqrt(max(float((a * (1 - a)).sum()), 1e-9))
            p_values[k] = ndtr(-z)
    return p_values
