"""Crossed model of items and annotators: how clear each item is, and how each annotator answers.

    P(vote of j on i is 1 | x, c) = (1 − q_c) σ(s_c x) + q_c σ(−s_c x),   kept within [SLIP, 1 − SLIP]

x is the item's signed clarity, on a grid with weights fitted to the data; c is the annotator's class: skill s, and
share q of answers turned round (q = ½: guesses, q = 1: inverts). An item-response model with a nonparametric ability
and difficulty distribution (Bock and Aitkin 1981; Whitehill et al. 2009 for crowds), fitted by mean-field EM: an
item's x is inferred from its votes under every annotator's mean response, an annotator's class from the items, each
vote judged by the *other* votes on its item alone. Where votes carry a confidence, its level is a second observation
of |x|, by a table learned from the crowd: what people are sure of is clear. Mild tastes that the whole crowd has shift
the log odds (`tastes.py`). Golden items have a known sign of x, and are where EM starts:
where most annotators invert, a common start would believe them. The scale of x is that of the typical annotator.
O(votes × grid × classes) a pass, in chunks: memory does not grow with the number of votes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from scipy import sparse
from scipy.special import expit

from tasks.stats.ballots import UNKNOWN, Ballots, slices
from tasks.stats.in_order import in_order
from tasks.stats.mixture import Mixture, fit_mixture
from tasks.stats.tastes import Tastes, crowd_tastes, cue_signs
from tasks.stats.typical_start import typical_start

CLARITY = np.array([0.1, 0.35, 0.7, 1.1, 1.6, 2.3, 3.3, 4.7])
GRID = np.r_[-CLARITY[::-1], CLARITY]  # for a mean |x| of 1
SKILLS = np.array([0.15, 0.25, 0.35, 0.5, 0.65, 0.8, 1.0, 1.2, 1.45, 1.75, 2.2])
CARELESS = np.array([0.1, 0.2])  # share turned round that is tolerated
TURNED = np.array([0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])  # from 0.35 on, most answers are as good as a coin's
SKILL = np.r_[SKILLS, np.ones(len(CARELESS) + len(TURNED))]
FLIP = np.r_[np.zeros(len(SKILLS)), CARELESS, TURNED]
TOLERATED = np.r_[np.ones(len(SKILLS) + len(CARELESS), dtype=bool), np.zeros(len(TURNED), dtype=bool)]
USEFUL = 0.265  # below this share of the typical skill an annotator is as good as one who guesses, however honest
_CELLS = np.r_[0.0, (SKILLS[1:] + SKILLS[:-1]) / 2, SKILLS[-1]]  # between them lies what a skill of the grid stands for
TRUSTED = np.r_[  # share of each class that is of use
    np.clip((_CELLS[1:] - USEFUL) / np.diff(_CELLS), 0, 1),
    np.ones(len(CARELESS)),
    np.zeros(len(TURNED)),
]
SLIP = 0.01
PASSES = 8
MOVED = 0.01
CHUNK = 8_000
LEARNING_VOTES = 200_000  # a sample of so many votes is enough to begin with
CERTAIN = 60.0
LEVELS = 10  # of confidence, by quantiles


@dataclass(frozen=True)
class Crowd:
    """`evidence`: (annotators, classes) log-likelihood; `mixture` over the classes; `clarity`: (grid,) values of x and
    `prior`: (grid,) their weights; `right`: (votes,) float32, probability that a vote is right, by the others alone;
    `residual`: (votes,) choice minus its probability for a typical annotator, by the others alone; `by_skill`: (votes, BY_SKILL) float32 probability of the vote that was cast, for honest annotators of these skills.
    """

    evidence: np.ndarray
    mixture: Mixture
    clarity: np.ndarray
    prior: np.ndarray
    right: np.ndarray
    residual: np.ndarray
    by_skill: np.ndarray

    def accuracy(self, posterior: np.ndarray, other: np.ndarray, votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(mean, standard deviation), (annotators,) each, of the probability that a vote is right, under a posterior
        (annotators, classes) that begins with these classes; `other`: (annotators,) share right of `votes` for what the
        other classes, which say nothing of it, hold."""
        up = _responses(self.clarity)
        of_class = np.where(self.clarity > 0, up, 1 - up) @ self.prior
        weights = posterior[:, : len(SKILL)]
        rest = np.maximum(1 - weights.sum(axis=1), 0)
        mean = weights @ of_class + rest * other
        square = weights @ of_class**2 + rest * (other**2 + other * (1 - other) / np.maximum(votes, 1))
        return mean, np.sqrt(np.maximum(square - mean**2, 0))


BY_SKILL = np.array([3, 5, 6, 7, 9])  # indices into SKILLS at which the evidence of single votes is kept
TYPICAL = 2  # of these, skill 1


class ResponseModel:
    """State of the fit. `silent`: (annotators,) bool, whose votes say nothing about items."""

    def __init__(self, ballots: Ballots) -> None:
        self.ballots = ballots
        self.starts = ballots.starts
        turned, self.prior = typical_start(ballots, GRID)
        self.clarity = GRID
        self.silent = np.zeros(ballots.n_annotators, dtype=bool)
        self.level, n_levels = _confidence_levels(ballots)
        self.emission = np.zeros((n_levels + 1, len(GRID)), dtype=np.float32)  # log; the last row: no confidence given
        self.response = expit(np.where(turned[:, None], -self.clarity, self.clarity)).astype(np.float32)
        self.tastes: Tastes | None = None
        self.mixture: Mixture | None = None

    def fit(self) -> Mixture:
        """Pass over a share of the items until annotators' mean responses stay, then over all of them."""
        golden = self.ballots.on_golden
        if golden.any():
            evidence, _ = self._pass(only=golden)
            self._update(replace(fit_mixture(evidence, SKILLS, TOLERATED), centre=1.0))
        stride = self._stride()
        for _ in range(PASSES):
            before = self.response
            self._learn(stride)
            if np.abs(self.response - before).mean() < MOVED:
                break
        return self._learn(1)

    def _stride(self) -> int:
        return -(-len(self.ballots.who) // LEARNING_VOTES)

    def _learn(self, stride: int) -> Mixture:
        """Take what items, annotators and confidence are like from every `stride`-th chunk of items."""
        levels = np.zeros(self.emission.shape)
        evidence, prior = self._pass(levels=levels, stride=stride)
        mixture = self._mixture(evidence)
        self._learn_confidence(levels)
        self.clarity, self.prior = _regrid(self.clarity * mixture.centre, prior)
        self._update(mixture)
        return mixture

    def _mixture(self, evidence: np.ndarray) -> Mixture:
        """Fitted from where the last one was: from pass to pass evidence differs little."""
        self.mixture = fit_mixture(evidence, SKILLS, TOLERATED, start=self.mixture)
        return self.mixture

    def judge(self) -> Crowd:
        """A last pass that keeps what each vote says."""
        self._learn_tastes()
        votes = len(self.ballots.who)
        right = np.empty(votes, dtype=np.float32)
        by_skill = np.empty((votes, len(BY_SKILL)), dtype=np.float32)
        evidence, _ = self._pass(right=right, by_skill=by_skill)
        mixture = self._mixture(evidence)
        residual = _residual(self.ballots.choice, by_skill[:, TYPICAL])
        return Crowd(evidence, mixture, self.clarity, self.prior, right, residual, by_skill)

    def _learn_tastes(self) -> None:
        """Take what the crowd leans to from a share of the items, and from those who read."""
        signs = cue_signs(self.ballots)
        if signs.shape[1] == 0:
            return
        stride = self._stride()
        by_skill = np.empty((len(signs), len(BY_SKILL)), dtype=np.float32)
        evidence, _ = self._pass(by_skill=by_skill, stride=stride)
        reads = self._mixture(evidence).posterior @ TRUSTED
        rows = np.concatenate([np.arange(r.start, r.stop) for _, r in islice(self._chunks(), 0, None, stride)])
        cast = by_skill[rows, TYPICAL]
        self.tastes = crowd_tastes(
            signs, rows, _residual(self.ballots.choice[rows], cast), reads[self.ballots.who[rows]]
        )

    def evidence(self, only: np.ndarray) -> np.ndarray:
        """(annotators, classes) log-likelihood by the votes in `only`, (votes,) bool."""
        return self._pass(only=only)[0]

    def silence(self, annotators: np.ndarray) -> None:
        """Leave the votes of `annotators` (bool) out of what is inferred about items."""
        self.silent = self.silent | annotators
        self.response[self.silent] = 0.5
        self.level[self.silent[self.ballots.who]] = len(self.emission) - 1

    def item_posterior(self, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
        """(items, grid) posterior of x of `items` (sorted codes) from the votes `rows` alone."""
        log_post = np.tile(np.log(self.prior), (len(items), 1))
        at = np.searchsorted(items, self.ballots.item[rows])
        np.add.at(log_post, at, self._log_response()[self._cast(rows)] + self.emission[self.level[rows]])
        log_post += self._by_gold(self.ballots.known[items])
        post = np.exp(log_post - log_post.max(axis=1, keepdims=True))
        return post / post.sum(axis=1, keepdims=True)

    def _update(self, mixture: Mixture) -> None:
        self.response = (mixture.posterior @ _responses(self.clarity / mixture.centre)).astype(np.float32)
        self.response[self.silent] = 0.5

    def _learn_confidence(self, levels: np.ndarray) -> None:
        """`levels`: (levels + 1, grid) posterior weight of x over the votes with each level of confidence."""
        both = levels + levels[:, ::-1] + 1.0  # how sure one is does not tell which side is right
        self.emission[:-1] = np.log(both[:-1] / both[:-1].sum(axis=0)) if len(both) > 1 else 0.0

    def _log_response(self) -> np.ndarray:
        """(2 annotators, grid): log probability of a 0 of each annotator, then of a 1."""
        return np.log(np.concatenate([1 - self.response, self.response]))

    def _cast(self, rows: slice | np.ndarray) -> np.ndarray:
        """Row of `_log_response` of each vote."""
        b = self.ballots
        return b.who[rows] + b.choice[rows].astype(np.int32) * b.n_annotators

    def _said_one(
        self, others: np.ndarray, rows: slice, at: slice | np.ndarray, tables: list[np.ndarray]
    ) -> np.ndarray:
        """(votes, classes) probability of a 1, given what the `others` say of the item; a table for each taste."""
        if self.tastes is None:
            return others @ tables[0].T
        of = self.tastes.combination[rows][at]
        order, first = np.argsort(of, kind="stable"), 0
        together, said = others.take(order, axis=0), np.empty((len(others), len(SKILL)), dtype=np.float32)
        for table, votes in zip(tables, np.bincount(of, minlength=len(tables)).tolist(), strict=True):
            np.matmul(together[first : first + votes], table.T, out=said[first : first + votes])
            first += votes
        place = np.empty(len(order), dtype=np.intp)
        place[order] = np.arange(len(order))
        return said.take(place, axis=0)

    def _by_gold(self, known: np.ndarray) -> np.ndarray:
        wrong_side = (known[:, None] != UNKNOWN) & ((self.clarity > 0) != (known[:, None] == 1))
        return np.where(wrong_side, -CERTAIN, 0.0).astype(np.float32)

    def _chunks(self) -> Iterator[tuple[slice, slice]]:
        """(items, rows) of whole items, about CHUNK votes each."""
        n_items, votes, item = self.ballots.n_items, len(self.ballots.who), 0
        while item < n_items:
            end = max(item + 1, int(np.searchsorted(self.starts, self.starts[item] + CHUNK)))
            yield slice(item, end), slice(int(self.starts[item]), int(self.starts[end]) if end < n_items else votes)
            item = end

    def _pass(
        self,
        only: np.ndarray | None = None,
        right: np.ndarray | None = None,
        by_skill: np.ndarray | None = None,
        levels: np.ndarray | None = None,
        stride: int = 1,
    ) -> tuple[np.ndarray, np.ndarray]:
        """(evidence of annotators by the votes in `only`, weights of the grid); fills `right`, `by_skill`, `levels`, which
        go with all votes."""
        b = self.ballots
        log_response, log_prior = self._log_response(), np.log(self.prior).astype(np.float32)
        tables = [_responses(self.clarity, s) for s in (self.tastes.shift if self.tastes else (0.0,))]
        positive = (self.clarity > 0).astype(np.float32)
        evidence = np.zeros((b.n_annotators, len(SKILL)), dtype=np.float32)
        total = np.zeros(len(self.clarity))

        def chunk(part: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
            items, rows = part
            said = log_response.take(self._cast(rows), axis=0)  # rows sooner than by brackets
            told = said + self.emission.take(self.level[rows], axis=0)
            post = log_prior + np.add.reduceat(told, self.starts[items] - rows.start, axis=0)
            if (b.known[items] != UNKNOWN).any():
                post += self._by_gold(b.known[items])
            post -= post.max(axis=1, keepdims=True)
            at = slice(None) if only is None else np.flatnonzero(only[rows])
            item, who = (b.item[rows] - items.start)[at], b.who[rows][at]
            others = post.take(item, axis=0)
            others -= said[at]
            np.exp(others, out=others)
            others /= others.sum(axis=1, keepdims=True)
            said_zero = (1 - b.choice[rows])[at].astype(np.float32)
            if right is not None:
                right[rows] = np.abs(others @ positive - said_zero)
            cast = self._said_one(others, rows, at, tables)
            cast -= said_zero[:, None]
            np.abs(cast, out=cast)
            if by_skill is not None:
                by_skill[rows] = cast[:, BY_SKILL]
            np.log(cast, out=cast)
            own = _summed(cast, who, b.n_annotators)
            np.exp(post, out=post)
            post /= post.sum(axis=1, keepdims=True)
            by_level = None
            if levels is not None and len(levels) > 1:
                by_level = _summed(post.take(item, axis=0), self.level[rows], len(levels))
            return own, post.sum(axis=0), by_level

        for own, weights, by_level in in_order(chunk, islice(self._chunks(), 0, None, stride)):
            evidence += own
            total += weights
            if levels is not None and by_level is not None:
                levels += by_level
        return evidence, (total + 1e-3) / (total + 1e-3).sum()


def _responses(clarity: np.ndarray, shift: float = 0.0) -> np.ndarray:
    """(classes, grid) float32 probability of a vote of 1, at a `shift` of the log odds of those who read."""
    up = expit(SKILL[:, None] * clarity + shift)
    turned = np.clip((1 - FLIP[:, None]) * up + FLIP[:, None] * (1 - up), SLIP, 1 - SLIP)
    return turned.astype(np.float32)


def _summed(values: np.ndarray, code: np.ndarray, n: int) -> np.ndarray:
    """(n, k) sums of the rows of `values` (votes, k) of each code, (votes,)."""
    of = (np.ones(len(code), np.float32), code, np.arange(len(code) + 1))
    summed: np.ndarray = sparse.csc_matrix(of, shape=(n, len(code))) @ values
    return summed


def _residual(choice: np.ndarray, cast: np.ndarray) -> np.ndarray:
    """Choice minus its probability, from the probability `cast` of the vote that was cast."""
    return np.where(choice == 1, 1 - cast, cast - 1)


def _confidence_levels(ballots: Ballots) -> tuple[np.ndarray, int]:
    """((votes,) int8 level of each vote's confidence, number of levels); unknown ones have the last code plus 1.

    Confidence is taken relative to the annotator's own mean: how people use the scale differs, and is no fault.
    """
    if ballots.confidence is None or not np.isfinite(ballots.confidence).any():
        return np.zeros(len(ballots.who), dtype=np.int8), 0
    given = np.isfinite(ballots.confidence)
    stated = np.where(given, ballots.confidence, np.float32(0.0))
    mean = (ballots.per_annotator(stated) / np.maximum(ballots.per_annotator(given), 1)).astype(np.float32)
    for part in slices(len(stated)):
        stated[part] -= mean[ballots.who[part]]
    edges = np.unique(np.quantile(stated[given], np.linspace(0, 1, LEVELS + 1)[1:-1]))
    level = np.full(len(stated), len(edges) + 1, dtype=np.int8)
    for part in slices(len(stated)):
        some = np.searchsorted(edges.astype(np.float32), stated[part], side="left")
        level[part][given[part]] = some[given[part]]
    return level, len(edges) + 1


def _regrid(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same distribution on a grid of its own size: each weight is shared by the two grid points around it."""
    grid = GRID * max(0.05, float(np.abs(values) @ weights))
    right = np.clip(np.searchsorted(grid, values), 1, len(grid) - 1)
    share = np.clip((values - grid[right - 1]) / (grid[right] - grid[right - 1]), 0, 1)
    shared = np.bincount(right, share * weights, len(grid)) + np.bincount(right - 1, (1 - share) * weights, len(grid))
    return grid, (shared + 1e-6) / (shared + 1e-6).sum()
