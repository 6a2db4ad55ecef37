"""Empirical-Bayes mixture of kinds of annotators: what is normal is learned from the crowd at hand.

Annotator j has log evidence ℓ_jc under each class c. Honest classes are a grid of skills s with weights ∝ t_ν(s; μ, σ):
a few honest people may be much worse than most, and how wide the honest are and how heavy that tail is decides who is
accused. So neither σ nor ν is estimated by one value: for each of a grid of them EM fits μ and the free weights of every
other class to all annotators together (Efron 2010, Large-Scale Inference, ch. 5; Laird 1978 for the free part), and the
fits are averaged by their likelihood times the prior of σ (a scaled inverse χ²; fully Bayesian over the two parameters
that matter, Carlin and Louis 2000, ch. 3). With few votes each, one best σ may be near nothing, and everybody off the
middle would be accused.

Annotators come in cells, such as "impossibly fast": the share of the unreliable is fitted for each cell and shrunk to
the crowd's (covariate-assisted false-discovery control, Cai and Sun 2009). O(annotators × classes) a step, two products
of a matrix and a vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

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
FAR = 12.0  # a fit that is less likely by as much in log terms has no weight


@dataclass(frozen=True)
class Mixture:
    """`posterior`: (annotators, classes); `weights`: (classes,) of the crowd; `centre` and `spread` of honest skills."""

    posterior: np.ndarray
    weights: np.ndarray
    centre: float
    spread: float


@dataclass(frozen=True)
class _Fit:
    """`of_cell`: (cells, classes) weights of the classes in each cell; `share` of the unreliable; `within`: (classes,)
    among the unreliable, `careless`: among the tolerated that have free weights."""

    of_cell: np.ndarray
    centre: float
    share: float
    share_in_cell: np.ndarray
    within: np.ndarray
    careless: np.ndarray
    log_likelihood: float


def skill_weights(skills: np.ndarray, centre: float, spread: float, tail: float) -> np.ndarray:
    """(skills,) weights of Student's t on an uneven grid; they sum to 1."""
    density = (1 + ((skills - centre) / spread) ** 2 / tail) ** (-(tail + 1) / 2) * np.gradient(skills)
    weights: np.ndarray = density / density.sum()
    return weights


def fit_mixture(
    evidence: np.ndarray,
    skills: np.ndarray,
    tolerated: np.ndarray,
    cells: np.ndarray | None = None,
    tails: Sequence[float] = TYPICAL_TAIL,
) -> Mixture:
    """Fit to `evidence` (annotators, classes): the first classes are honest ones at `skills`, the rest have free
    weights; `tolerated`: (classes,) bool, which of all classes are not unreliable. `cells`: (annotators,) codes."""
    cells = np.zeros(len(evidence), dtype=np.int64) if cells is None else cells
    names, cell, sizes = np.unique(cells, return_inverse=True, return_counts=True)
    order = np.argsort(cell, kind="stable")
    scaled = np.exp(evidence - evidence.max(axis=1, keepdims=True))[order]
    parts = np.split(scaled, np.cumsum(sizes)[:-1])
    fit = _start(tolerated, len(skills), len(names))
    fitted_to = [part[:: max(1, len(evidence) // MOST)] for part in parts]
    shapes = list(product(tails, SPREADS))
    fits = []
    for tail, spread in shapes:
        fit = _fitted(fit, fitted_to, skills, tolerated, spread, tail)
        fits.append(fit)
    likely = np.array([f.log_likelihood + _log_prior(s) for f, (_, s) in zip(fits, shapes, strict=True)])
    odds = np.where(likely > likely.max() - FAR, np.exp(likely - likely.max()), 0.0)
    odds /= odds.sum()
    posterior = np.zeros_like(scaled)
    for weight, found in zip(odds, fits, strict=True):
        if weight > 0:
            posterior[order] += weight * np.concatenate(
                [_posterior(*of) for of in zip(parts, found.of_cell, strict=True)]
            )
    within = sizes / sizes.sum()
    return Mixture(
        posterior,
        sum((w * (within @ f.of_cell) for w, f in zip(odds, fits, strict=True)), np.zeros(len(tolerated))),
        float(odds @ [f.centre for f in fits]),
        float(odds @ [s for _, s in shapes]),
    )


def _log_prior(spread: float) -> float:
    return float(-SPREAD_STRENGTH * (np.log(spread) + (PRIOR_SPREAD / spread) ** 2 / 2))


def _start(tolerated: np.ndarray, honest: int, cells: int) -> _Fit:
    bad = ~tolerated
    free = tolerated & (np.arange(len(tolerated)) >= honest)
    within = np.where(bad, 1.0 / max(1, bad.sum()), 0.0)
    careless = np.where(free, 0.1 / max(1, free.sum()), 0.0)
    return _Fit(np.zeros((cells, 0)), 1.0, PRIOR_SHARE, np.full(cells, PRIOR_SHARE), within, careless, -np.inf)


def _fitted(
    fit: _Fit, parts: list[np.ndarray], skills: np.ndarray, tolerated: np.ndarray, spread: float, tail: float
) -> _Fit:
    """EM from `fit` at this spread and tail; `parts`: evidence of the annotators of each cell, as likelihoods."""
    n, honest, bad = sum(map(len, parts)), len(skills), ~tolerated
    sizes = np.array([len(part) for part in parts])
    fit = replace(fit, log_likelihood=-np.inf)
    for _ in range(STEPS):
        fine = fit.careless.copy()
        fine[:honest] = (1 - fit.careless.sum()) * skill_weights(skills, fit.centre, spread, tail)
        share = fit.share_in_cell[:, None]
        of_cell = share * fit.within + (1 - share) * fine
        likelihood = [np.maximum(part @ w, 1e-300) for part, w in zip(parts, of_cell, strict=True)]
        in_cell = of_cell * np.stack([part.T @ (1 / of) for part, of in zip(parts, likelihood, strict=True)])
        total, found = in_cell.sum(axis=0), in_cell[:, bad].sum(axis=1)
        precise = total[:honest] * (tail + 1) / (tail + ((skills - fit.centre) / spread) ** 2)  # t as a scale mixture
        updated = (found.sum() + PRIOR_SHARE) / (n + 1)
        within = np.where(bad, total + PRIOR_SHARE / max(1, bad.sum()), 0.0)
        careless = np.where(tolerated, total, 0.0) / max(total[tolerated].sum(), 1e-300)
        careless[:honest] = 0.0
        log_likelihood = float(sum(np.log(of).sum() for of in likelihood))
        gained = log_likelihood - fit.log_likelihood
        fit = _Fit(
            of_cell,
            float((precise @ skills + SPREAD_STRENGTH) / (precise.sum() + SPREAD_STRENGTH)),
            updated,
            (found + CELL_STRENGTH * updated) / (sizes + CELL_STRENGTH),
            within / max(within.sum(), 1e-300),
            careless,
            log_likelihood,
        )
        if abs(gained) < TOLERANCE:
            break
    return fit


def _posterior(part: np.ndarray, weights: np.ndarray) -> np.ndarray:
    joint = part * weights
    joint /= np.maximum(joint.sum(axis=1, keepdims=True), 1e-300)
    return joint
