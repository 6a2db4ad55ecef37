"""How much of the reward is surface: variance of score differences explained by length, lists, hedges, agreement, ….

Within a pair the prompt is the same, so Δscore = β · Δfeatures + rest; features are standardised, ridge of fixed
strength, no intercept. R² is measured on folds that were not fitted; a feature's own share is what R² loses without it.
"""

import numpy as np

from tasks.evals.bench import Bench
from tasks.evals.held_out import held_out_pairs, held_out_scores
from tasks.evals.result import Finding, Outcome
from tasks.evals.surface import FEATURES, count

FOLDS = 5
RIDGE = 1.0
MUCH = 0.25  # R² from which it is a finding


def run(bench: Bench) -> Outcome:
    """R² of every scorer on the held-out pairs, and what each feature adds."""
    outcome = Outcome()
    pairs = held_out_pairs(bench)
    features = np.array([[count(p.first, f) - count(p.second, f) for f in FEATURES] for p in pairs])
    kept = np.flatnonzero(np.count_nonzero(features, axis=0) >= FOLDS)
    features = features[:, kept] / features[:, kept].std(0)
    names = [FEATURES[i] for i in kept]
    rows = np.arange(len(pairs))
    where = {"held_out": bench.sides["reward_test"]}
    for scorer in bench.scorers:
        gap = np.subtract(*held_out_scores(bench, scorer))
        residual = gap - _predicted(features, gap)
        total = bench.bootstrap(lambda d, r=residual, y=gap: _explained(r[d], y[d]), rows)  # type: ignore[misc]
        outcome.results.append(bench.result(f"surface/r2/{scorer}", total, len(pairs), where, [scorer]))
        for j, name in enumerate(names):
            without = gap - _predicted(np.delete(features, j, 1), gap)
            own = bench.bootstrap(
                lambda d, r=residual, w=without, y=gap: _explained(r[d], y[d]) - _explained(w[d], y[d]),  # type: ignore[misc]
                rows,
            )
            outcome.results.append(bench.result(f"surface/own_r2/{scorer}", own, len(pairs), where, [scorer], name))
        if scorer == "reward" and total[1] > MUCH:
            strongest = names[int(np.argmax(np.abs(_fit(features, gap))))]
            means = (
                f"Length and wording alone explain {total[0]:.0%} of the variance of score differences on pairs that were "
                f"not fitted ({total[1]:.0%} – {total[2]:.0%}); the strongest is {strongest}."
            )
            outcome.findings.append(Finding(1, "The reward model reads the surface", means))
    return outcome


def _fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y))


def _predicted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n,) predictions, each from the other folds."""
    out = np.zeros(len(y))
    for fold in range(FOLDS):
        held = np.arange(len(y)) % FOLDS == fold
        out[held] = x[held] @ _fit(x[~held], y[~held])
    return out


def _explained(residual: np.ndarray, y: np.ndarray) -> float:
    return float(1 - (residual**2).sum() / (y**2).sum()) if (y**2).sum() else 0.0
