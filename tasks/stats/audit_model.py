"""Audit reward model that does not see the prompt: how surely the two answers of a pair tell which was preferred.

Ridge regression of the label on the difference features (`differences.py`), min Σ (1 − x_i·w)² + λ‖w/s‖², s the prior
scale of a feature's kind, by conjugate gradients on the normal equations (CGLS; Hestenes and Stiefel 1952; Björck 1996,
algorithm 7.4.1), stopped where the held-out likelihood is best. Cross-fitted: every fold's model by every prior is a
column of one dense matrix, so that all are fitted in the same passes (a product waits for the entries, and twelve columns
take as long as six), and a row is judged only by models that it did not train. A trigger in the prompt cannot be
learned by it. O(iterations × folds × entries).
"""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_matrix

FOLDS = 6
ITERATIONS = 7
RIDGE = 80.0
PRIORS = ((0.1, 0.1, 1.0), (1.0, 0.5, 1.0))  # scales of word, pair of words, sentence; the better one is taken
SUREST = 3.0  # in log-odds: no label is believed to be surer than 95 %
NEWTON_STEPS = 12


def margins(differences: csr_matrix, kind: np.ndarray, seed: int) -> np.ndarray:
    """(n,) cross-fitted log-odds that the chosen answer is preferred, calibrated, within ±SUREST.

    `differences`: (n, d), chosen less rejected; `kind`: (d,) 0 word, 1 pair of words, 2 sentence.
    """
    n = differences.shape[0]
    fold = np.random.default_rng(seed).permutation(np.arange(n) % min(FOLDS, n))
    loss, best = _best_stopped(differences, np.array(PRIORS, dtype=np.float32)[:, kind], fold)
    nothing = np.log(2.0)  # what knowing nothing costs
    return np.clip(best, -SUREST, SUREST) if loss < nothing else np.zeros(n)


def _best_stopped(differences: csr_matrix, priors: np.ndarray, fold: np.ndarray) -> tuple[float, np.ndarray]:
    """(held-out loss, calibrated log-odds (n,)) of the prior and the iteration with the least loss; `priors`: (p, d)."""
    folds = int(fold.max()) + 1
    training = np.tile((fold[:, None] != np.arange(folds)).astype(np.float32), len(priors))
    rows, found = np.arange(len(fold)), list[tuple[float, np.ndarray]]()
    for predicted, _ in iterates(differences, np.repeat(priors.T, folds, axis=1), training):
        for k in range(len(priors)):
            calibrated = _calibrated(predicted[rows, k * folds + fold].astype(np.float64))
            loss = float(np.logaddexp(0, -calibrated).mean())
            if not found or loss < found[0][0]:
                found = [(loss, calibrated)]
    return found[0]


def iterates(x: csr_matrix, scale: np.ndarray, training: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """((n, k) predictions, (d, k) weights) of k models after each iteration; `training`: (n, k) 1 where a row trains
    a model; `scale`: (d, k) prior scales, or (d, 1) that all models have."""
    transposed = x.T
    weights = np.zeros((x.shape[1], training.shape[1]), dtype=np.float32)
    residual, predicted = training.copy(), np.zeros_like(training)
    gradient = (transposed @ residual) * scale
    direction, size = gradient.copy(), (gradient * gradient).sum(axis=0, dtype=np.float64)
    for _ in range(ITERATIONS):
        ahead = x @ (direction * scale)
        inside = ahead * training
        curvature = (inside * inside).sum(axis=0, dtype=np.float64)
        curvature += RIDGE * (direction * direction).sum(axis=0, dtype=np.float64)
        step = (size / np.maximum(curvature, 1e-30)).astype(np.float32)
        weights += step * direction
        predicted += step * ahead
        residual -= step * inside
        yield predicted, weights * scale
        gradient = (transposed @ residual) * scale - np.float32(RIDGE) * weights
        new = (gradient * gradient).sum(axis=0, dtype=np.float64)
        direction = gradient + (new / np.maximum(size, 1e-30)).astype(np.float32) * direction
        size = new


def _calibrated(score: np.ndarray) -> np.ndarray:
    """c·score with the c ≥ 0 of most likelihood: Platt scaling (1999) without an intercept, by Newton's method."""
    spread = float(np.sqrt(np.mean(score**2)))
    if spread < 1e-9:
        return np.zeros_like(score)
    unit, c = score / spread, 0.0
    for _ in range(NEWTON_STEPS):
        wrong = 1 / (1 + np.exp(c * unit))
        slope, curvature = float((wrong * unit).mean()), float((wrong * (1 - wrong) * unit**2).mean())
        before, c = c, c + float(np.clip(slope / max(curvature, 1e-9), -1.0, 1.0))
        if c == before:
            break
    return max(c, 0.0) * unit
