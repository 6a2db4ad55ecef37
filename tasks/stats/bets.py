"""Bets against uniform p-values: non-negative functions with mean 1, large where a drift would put the p-values.

With z = Φ⁻¹(1 − p), standard normal if nothing drifts, the bets on numbers are likelihood ratios,

    f_δ(p) = exp(δz − δ²/2)              the values moved by δ standard deviations
    f_s(p) = exp(z²/2 (1 − 1/s²)) / s    they spread s times as wide

and those on events (0 or 1) with past frequency q put the odds up ρ-fold: with q' = ρq / (1 − q + ρq),

    f_ρ(p) = q'/q  for p ≤ q,   (1 − q')/(1 − q)  else

since p ≤ q is nearly the same as the event. Normal scores and a grid of alternatives instead of one: Vovk, Petej,
Nouretdinov, Ahlberg, Carlsson and Gammerman 2021, Retrain or Not Retrain: Conformal Test Martingales for Change-Point
Detection; a mixture costs at most the logarithm of its size.
"""

import numpy as np
from scipy.special import ndtri

SHIFTS = (-0.8, -0.4, -0.2, -0.1, 0.1, 0.2, 0.4, 0.8)
SPREADS = (0.7, 1.4)
ODDS = (1 / 8, 1 / 3, 2 / 3, 3 / 2, 3.0, 8.0)
NUMBERS = tuple(f"shift {d:+g}" for d in SHIFTS) + tuple(f"spread {s:g}" for s in SPREADS)
EVENTS = tuple(f"odds {r:.3g}" for r in ODDS)


def on_numbers(p: np.ndarray) -> np.ndarray:
    """(n, len(NUMBERS)) logarithms of the bets on p-values (n,)."""
    z = -ndtri(np.clip(p, 1e-300, 1 - 1e-16))[:, None]
    shift, spread = np.array(SHIFTS), np.array(SPREADS)
    moved = shift * z - shift**2 / 2
    widened = z**2 / 2 * (1 - 1 / spread**2) - np.log(spread)
    return np.hstack([moved, widened])


def on_events(p: np.ndarray, past: np.ndarray) -> np.ndarray:
    """(n, len(EVENTS)) logarithms of the bets; `past`: (n,) frequencies of the event before each p-value, inside
    (0, 1)."""
    q, odds = past[:, None], np.array(ODDS)
    raised = odds * q / (1 - q + odds * q)
    return np.asarray(np.where(p[:, None] <= q, np.log(raised / q), np.log((1 - raised) / (1 - q))))
