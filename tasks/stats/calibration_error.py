"""How far stated probabilities are from what happens."""

import numpy as np


def expected_calibration_error(probabilities: np.ndarray, outcomes: np.ndarray, bins: int = 10) -> float:
    """Σ_b n_b/n · |mean outcome − mean probability| over bins of equally many items (Nixon et al. 2019).

    `probabilities`: (n,) of the stated event; `outcomes`: (n,) 1 where it came. Biased upwards by about
    √(bins/n) where calibration is perfect.
    """
    order = np.argsort(probabilities, kind="stable")
    groups = [g for g in np.array_split(order, min(bins, len(order))) if len(g)]
    gaps = [len(g) * abs(float(outcomes[g].mean() - probabilities[g].mean())) for g in groups]
    return float(sum(gaps) / len(order))


def brier_score(probabilities: np.ndarray, outcomes: np.ndarray) -> float:
    """Mean squared difference of probability and outcome (Brier 1950)."""
    return float(np.mean((probabilities - outcomes) ** 2))
