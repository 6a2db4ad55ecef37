"""Empirical-Bayes mixture of kinds of annotators: what is normal is learned from the crowd at hand.

Annotator j has log evidence ℓ_jc under each class c. Honest classes are a grid of skills s with weights ∝ t_ν(s; μ, σ):
a few honest people may be much worse than most, and how heavy that tail is decides who is accused, so ν is not
assumed (Lange, Little and Taylor 1989) but averaged over by its marginal likelihood. Every other class has a free weight. EM fits μ, σ
and the weights to all annotators together (Efron 2010, Large-Scale
Inference, ch. 5; Laird 1978 for the free part). Annotators come in cells, such as "impossibly fast":
the share of the unreliable is fitted for each cell and shrunk to the crowd's (covariate-assisted false-discovery
control, Cai and Sun 2009). O(annotators × classes) a step.
"""

from dataclasses import dataclass, replace

import numpy as np

STEPS = 200
TOLERANCE = 1e-5
PRIOR_SHARE = 0.05  # of unreliable annotators, worth one annotator: decides only where there is nearly no data
CELL_STRENGTH = 2.0  # annotators' worth of the crowd's share in each cell
PRIOR_SPREAD, SPREAD_STRENGTH = 0.3, 5.0  # of honest skills, in units of the typical one
SPREADS = (0.05, 0.6)
TAILS = (4.0, 8.0, 16.0, 32.0)  # ν


@dataclass(frozen=True)
class Mixture:
    """`posterior`: (annotators, classes); `weights`: (classes,) of the crowd; `centre`, `spread` and `tail` (ν) of
    honest skills; `log_likelihood` of all annotators, up to a constant."""

    posterior: np.ndarray
    weights: np.ndarray
    centre: float
    spread: float
    tail: float
    log_likelihood: float


def skill_weights(skills: np.ndarray, centre: float, spread: float, tail: float) -> np.ndarray:
    """(skills,) weights of Student's t on an uneven grid; they sum to 1."""
    density = (1 + ((skills - centre) / spread) ** 2 / tail) ** (-(tail + 1) / 2) * np.gradient(skills)
    weights: np.ndarray = density / density.sum()
    return weights


def fit_any_tail(evidence: np.ndarray, skills: np.ndarray, tolerated: np.ndarray, cells: np.ndarray) -> Mixture:
    """The fits of all tails, averaged by their likelihood; arguments as in `fit_mixture`."""
    fits = [fit_mixture(evidence, skills, tolerated, cells, tail=tail) for tail in TAILS]
    best = max(fits, key=lambda fit: fit.log_likelihood)
    odds = np.exp([fit.log_likelihood - best.log_likelihood for fit in fits])
    mean = np.tensordot(odds / odds.sum(), np.stack([fit.posterior for fit in fits]), axes=1)
    return replace(best, posterior=mean)


def fit_mixture(
    evidence: np.ndarray,
    skills: np.ndarray,
    tolerated: np.ndarray,
    cells: np.ndarray | None = None,
    *,
    tail: float = 16.0,
    tolerance: float = TOLERANCE,
) -> Mixture:
    """Fit to `evidence` (annotators, classes): the first classes are honest ones at `skills`, the rest have free
    weights; `tolerated`: (classes,) bool, which of all classes are not unreliable. `cells`: (annotators,) codes."""
    n, n_classes = evidence.shape
    honest = len(skills)
    cells = np.zeros(n, dtype=np.int64) if cells is None else cells
    sizes = np.bincount(cells)
    scaled = np.exp(evidence - evidence.max(axis=1, keepdims=True))
    centre, spread = 1.0, PRIOR_SPREAD
    share, share_in_cell = PRIOR_SHARE, np.full(len(sizes), PRIOR_SHARE)
    bad = ~tolerated
    within = np.where(bad, 1.0 / max(1, bad.sum()), 0.0)  # of a class among the unreliable
    careless = np.where(tolerated, 0.1 / max(1, n_classes - honest - bad.sum()), 0.0)  # among the tolerated
    careless[:honest] = 0.0
    for _ in range(STEPS):
        fine = careless.copy()
        fine[:honest] = (1 - careless.sum()) * skill_weights(skills, centre, spread, tail)
        in_cell = share_in_cell[:, None] * within + (1 - share_in_cell[:, None]) * fine
        posterior = scaled * in_cell[cells]
        likelihood = np.maximum(posterior.sum(axis=1, keepdims=True), 1e-300)
        posterior /= likelihood
        total = posterior.sum(axis=0)
        of_skill = total[:honest]
        precise = of_skill * (tail + 1) / (tail + ((skills - centre) / spread) ** 2)  # t as a scale mixture
        centre = float((precise @ skills + SPREAD_STRENGTH) / (precise.sum() + SPREAD_STRENGTH))
        squares = precise @ (skills - centre) ** 2 + SPREAD_STRENGTH * PRIOR_SPREAD**2
        variance = squares / (of_skill.sum() + SPREAD_STRENGTH)
        spread = float(np.clip(np.sqrt(variance), *SPREADS))
        unreliable = posterior[:, bad].sum(axis=1)
        updated = (unreliable.sum() + PRIOR_SHARE) / (n + 1)
        found = np.bincount(cells, weights=unreliable, minlength=len(sizes))
        share_in_cell = (found + CELL_STRENGTH * updated) / (sizes + CELL_STRENGTH)
        within = np.where(bad, total + PRIOR_SHARE / max(1, bad.sum()), 0.0)
        within /= max(within.sum(), 1e-300)
        careless = np.where(tolerated, total, 0.0) / max(total[tolerated].sum(), 1e-300)
        careless[:honest] = 0.0
        moved, share = abs(updated - share), updated
        if moved < tolerance:
            break
    weights = share * within + (1 - share) * fine
    return Mixture(posterior, weights, centre, spread, tail, float(np.log(likelihood).sum()))
