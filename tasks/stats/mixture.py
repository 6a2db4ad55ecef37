"""Empirical-Bayes mixture of kinds of annotators: what is normal is learned from the crowd at hand.

Annotator j has log evidence ℓ_jc under each class c. Honest classes are a grid of skills s with weights ∝ t_ν(s; μ, σ):
a few honest people may be much worse than most, and how wide the honest are and how heavy that tail is decides who is
accused. So neither σ nor ν is estimated by one value: for each of a grid of them EM fits μ and the free weights of every
other class to all annotators together (Efron 2010, Large-Scale Inference, ch. 5; Laird 1978 for the free part), and the
fits are averaged by their likelihood times the prior of σ (a scaled inverse χ²; fully Bayesian over the two parameters
that matter, Carlin and Louis 2000, ch. 3). With few votes each, one best σ may be near nothing, and everybody off the
middle would be accused.

Annotators come in cells, such as "impossibly fast": the share of the unreliable is fitted for each cell and shrunk to
the crowd's (covariate-assisted false-discovery control, Cai and Sun 2009). O(annotators × classes × shapes) a step, two
products of matrices for all shapes at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np

STEPS = 200
TOLERANCE = 0.01  # of the log-likelihood of all annotators, a step
PRIOR_SHARE = 0.05  # of unreliable annotators, worth one annotator: decides only where there is nearly no data
CELL_STRENGTH = 2.0  # annotators' worth of the crowd's share in each cell
PRIOR_SPREAD, SPREAD_STRENGTH = 0.3, 5.0  # of honest skills, in units of the typical one
SPREADS = (0.12, 0.16, 0.2, 0.25, 0.32, 0.42, 0.55)  # σ; the grid of skills tells nothing narrower apart
TAILS = (4.0, 8.0, 16.0, 32.0)  # ν
TYPICAL_TAIL = (16.0,)
MOST = 50_000  # annotators: twice as many and more are fitted to every so-manieth of each cell, and judged all
BLOCK = 4096  # annotators that are judged at a time: what is worked out for them stays in the processor's cache
FAR = 12.0  # a fit that is less likely by as much in log terms has no weight
# Sums over annotators are cut as two threads of BLAS cut them, and reports are the same bytes on one core as on two; but not
# small products, which threads leave whole.
PEOPLE, WIDE = 384, 8  # in a sum, and what a row is filled up to a multiple of
FEW, SMALL = 16, 1_000_000  # shapes, and terms of a product


@dataclass(frozen=True)
class _Kinds:
    """What is fitted: the first classes are honest ones at `skills`; `tolerated` (classes,) bool; (shapes,) `spread` and
    `tail` of honest skills."""

    skills: np.ndarray
    tolerated: np.ndarray
    spread: np.ndarray
    tail: np.ndarray


@dataclass(frozen=True)
class _Cell:
    """Likelihoods of the `people` of a cell: `by_class` (classes, people and nobody up to WIDE), `by_person` (people,
    classes); `sums`: slices of people."""

    people: int
    by_class: np.ndarray
    by_person: np.ndarray
    sums: list[slice]


@dataclass(frozen=True)
class _Fits:
    """A fit for each shape, (shapes, …): `of_cell` (…, cells, classes) weights of the classes in each cell; `centre`; `share`
    (…, cells) of the unreliable; `within` (…, classes) among the unreliable, `careless` (…, classes) among the
    tolerated that have free weights."""

    of_cell: np.ndarray
    centre: np.ndarray
    share: np.ndarray
    within: np.ndarray
    careless: np.ndarray
    log_likelihood: np.ndarray


@dataclass(frozen=True)
class Mixture:
    """`posterior`: (annotators, classes); `weights`: (classes,) of the crowd; `centre` and `spread` of honest skills;
    `fits`: of which it is the average, to begin another one from."""

    posterior: np.ndarray
    weights: np.ndarray
    centre: float
    spread: float
    fits: _Fits


def skill_weights(skills: np.ndarray, centre: np.ndarray, spread: np.ndarray, tail: np.ndarray) -> np.ndarray:
    """(shapes, skills) weights of Student's t on an uneven grid, from (shapes,) parameters; they sum to 1."""
    far = (skills - centre[:, None]) / spread[:, None]
    density = (1 + far**2 / tail[:, None]) ** (-(tail[:, None] + 1) / 2) * np.gradient(skills)
    weights: np.ndarray = density / density.sum(axis=1, keepdims=True)
    return weights


def fit_mixture(
    evidence: np.ndarray,
    skills: np.ndarray,
    tolerated: np.ndarray,
    cells: np.ndarray | None = None,
    tails: Sequence[float] = TYPICAL_TAIL,
    start: Mixture | None = None,
) -> Mixture:
    """Fit to `evidence` (annotators, classes): the first classes are honest ones at `skills`, the rest have free
    weights; `tolerated`: (classes,) bool, which of all classes are not unreliable. `cells`: (annotators,) codes. `start`: a mixture
    of the same classes, cells and tails for evidence that differs little."""
    cells = np.zeros(len(evidence), dtype=np.int64) if cells is None else cells
    names, cell, sizes = np.unique(cells, return_inverse=True, return_counts=True)
    rows = np.split(np.argsort(cell, kind="stable"), np.cumsum(sizes)[:-1])
    stride = max(1, len(evidence) // MOST)
    fitted_to = [_scaled(evidence[of_cell[::stride]]) for of_cell in rows]
    tail, spread = np.array(list(product(tails, SPREADS))).T
    fits = start.fits if start else _start(tolerated, len(skills), len(names), len(tail))
    fits = _fitted(fits, fitted_to, _Kinds(skills, tolerated, spread, tail))
    likely = fits.log_likelihood + _log_prior(spread)
    odds = np.where(likely > likely.max() - FAR, np.exp(likely - likely.max()), 0.0)
    odds /= odds.sum()
    return Mixture(
        _averaged(evidence, cell, fits, odds),
        odds @ (fits.of_cell * (sizes / sizes.sum())[:, None]).sum(axis=1),
        float(odds @ fits.centre),
        float(odds @ spread),
        fits,
    )


def _log_prior(spread: np.ndarray) -> np.ndarray:
    log_prior: np.ndarray = -SPREAD_STRENGTH * (np.log(spread) + (PRIOR_SPREAD / spread) ** 2 / 2)
    return log_prior


def _start(tolerated: np.ndarray, honest: int, cells: int, shapes: int) -> _Fits:
    bad = ~tolerated
    free = tolerated & (np.arange(len(tolerated)) >= honest)
    within = np.where(bad, 1.0 / max(1, bad.sum()), 0.0)
    careless = np.where(free, 0.1 / max(1, free.sum()), 0.0)
    return _Fits(
        np.zeros((shapes, cells, len(tolerated))),
        np.ones(shapes),
        np.full((shapes, cells), PRIOR_SHARE),
        np.tile(within, (shapes, 1)),
        np.tile(careless, (shapes, 1)),
        np.full(shapes, -np.inf),
    )


def _fitted(fits: _Fits, parts: list[np.ndarray], kinds: _Kinds) -> _Fits:
    """EM from `fits`, all shapes a step at a time, until none gains any more; `parts`: (annotators, classes) likelihoods of
    the annotators of each cell."""
    fits = replace(fits, log_likelihood=np.full(len(kinds.tail), -np.inf))
    sizes = np.array([len(part) for part in parts])
    cells = [_cell(part, len(kinds.tail)) for part in parts]
    for _ in range(STEPS):
        before, of_cell = fits.log_likelihood, _of_cell(fits, kinds)
        in_cell, log_likelihood = np.empty_like(of_cell), np.zeros(len(of_cell))
        for k, cell in enumerate(cells):
            in_cell[:, k], of_people = _expected(of_cell[:, k], cell)
            log_likelihood += of_people
        fits = _most_likely(replace(fits, of_cell=of_cell, log_likelihood=log_likelihood), in_cell, sizes, kinds)
        if (np.abs(log_likelihood - before) < TOLERANCE).all():
            break
    return fits


def _of_cell(fits: _Fits, kinds: _Kinds) -> np.ndarray:
    """(shapes, cells, classes) weights of the classes."""
    fine = fits.careless.copy()
    fine[:, : len(kinds.skills)] = (1 - fits.careless.sum(axis=1, keepdims=True)) * skill_weights(
        kinds.skills, fits.centre, kinds.spread, kinds.tail
    )
    share = fits.share[:, :, None]
    weights: np.ndarray = share * fits.within[:, None] + (1 - share) * fine[:, None]
    return weights


def _expected(weights: np.ndarray, cell: _Cell) -> tuple[np.ndarray, np.ndarray]:
    """((shapes, classes) expected annotators, (shapes,) log-likelihood) of a cell with these `weights` (shapes, classes)."""
    likelihood = (weights @ cell.by_class)[:, : cell.people]
    np.maximum(likelihood, 1e-300, out=likelihood)
    inverse, total = 1 / likelihood, np.zeros_like(weights)
    for some in cell.sums:
        total += inverse[:, some] @ cell.by_person[some]
    return weights * total, np.log(likelihood, out=likelihood).sum(axis=1)


def _cell(likelihood: np.ndarray, shapes: int) -> _Cell:
    """From (annotators, classes), each way round as the products of that size want it."""
    people, by_person = len(likelihood), likelihood.astype(np.float64)  # once, as every product would do it
    if shapes >= FEW and likelihood.size * shapes > SMALL:
        by_class = np.ascontiguousarray(np.pad(by_person, ((0, -people % WIDE), (0, 0))).T)
        whole = PEOPLE * (people // PEOPLE - (people % PEOPLE > 0))
        cuts = np.unique([*range(0, whole, PEOPLE), whole, (whole + people + 1) // 2, people])
        return _Cell(people, by_class, by_person, [slice(a, b) for a, b in pairwise(cuts.tolist())])
    by_class = np.ascontiguousarray(by_person.T)
    return _Cell(people, by_class, by_class.T if likelihood.dtype == np.float64 else by_person, [slice(0, people)])


def _most_likely(fits: _Fits, in_cell: np.ndarray, sizes: np.ndarray, kinds: _Kinds) -> _Fits:
    """`fits` moved to `in_cell` (shapes, cells, classes) expected annotators; `sizes`: (cells,) annotators."""
    skills, tail, honest, bad = kinds.skills, kinds.tail[:, None], len(kinds.skills), ~kinds.tolerated
    total, found = in_cell.sum(axis=1), in_cell[:, :, bad].sum(axis=2)
    far = (skills - fits.centre[:, None]) / kinds.spread[:, None]
    precise = total[:, :honest] * (tail + 1) / (tail + far**2)  # t as a scale mixture
    updated = ((found.sum(axis=1) + PRIOR_SHARE) / (sizes.sum() + 1))[:, None]
    within = np.where(bad, total + PRIOR_SHARE / max(1, bad.sum()), 0.0)
    careless = np.where(bad, 0.0, total) / np.maximum(total[:, ~bad].sum(axis=1, keepdims=True), 1e-300)
    careless[:, :honest] = 0.0
    return replace(
        fits,
        centre=(precise @ skills + SPREAD_STRENGTH) / (precise.sum(axis=1) + SPREAD_STRENGTH),
        share=(found + CELL_STRENGTH * updated) / (sizes + CELL_STRENGTH),
        within=within / np.maximum(within.sum(axis=1, keepdims=True), 1e-300),
        careless=careless,
    )


def _averaged(evidence: np.ndarray, cell: np.ndarray, fits: _Fits, odds: np.ndarray) -> np.ndarray:
    """(annotators, classes) posterior, the average of the fits by their `odds`."""
    posterior = np.zeros_like(evidence)
    for start in range(0, len(evidence), BLOCK):
        here = slice(start, start + BLOCK)
        scaled = _scaled(evidence[here])
        for k in np.flatnonzero(odds):
            joint = scaled * fits.of_cell[k][cell[here]]
            joint /= np.maximum(joint.sum(axis=1, keepdims=True), 1e-300)
            posterior[here] += odds[k] * joint
    return posterior


def _scaled(evidence: np.ndarray) -> np.ndarray:
    """Likelihoods, the largest of each annotator 1."""
    likelihood: np.ndarray = np.exp(evidence - evidence.max(axis=1, keepdims=True))
    return likelihood
