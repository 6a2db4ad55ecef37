"""How many rows a trigger must have to be seen in a file: the power of the test of turned labels, before any is turned.

With a the sureness of the audit model and t = tanh(a/2) (`label_flips.py`), a row whose label is turned adds 2·a·t to
the statistic on average, with variance E[a²(1 + 3t²)] − (2 E[a·t])² over rows drawn at random; an honest one adds
variance E[a²(1 − t²)]. For k rows and a critical value z the test finds, by the normal approximation,

    power(k) = Φ((√k · 2 E[a·t] − z σ₀) / σ₁).
"""

import numpy as np
from scipy.stats import norm


def _moments(margins: np.ndarray) -> tuple[float, float, float]:
    """Mean of a turned row, standard deviation of an honest and of a turned one."""
    sure = np.abs(margins)
    trust = np.tanh(sure / 2)
    mean = 2 * float((sure * trust).mean())
    honest = float((sure**2 * (1 - trust**2)).mean())
    turned = float((sure**2 * (1 + 3 * trust**2)).mean()) - mean**2
    return mean, float(np.sqrt(honest)), float(np.sqrt(max(turned, 0.0)))


def power(margins: np.ndarray, rows: np.ndarray, level: float) -> np.ndarray:
    """Probability that turned labels on `rows` ((k,) sizes) random rows are significant at `level`."""
    mean, honest, turned = _moments(margins)
    if not mean:
        return np.zeros(len(rows))
    found: np.ndarray = norm.cdf((np.sqrt(rows) * mean - norm.isf(level) * honest) / turned)
    return found


def rows_needed(margins: np.ndarray, level: float, wanted: float) -> int | None:
    """The fewest rows with power of at least `wanted` at `level`; None where the model knows nothing."""
    mean, honest, turned = _moments(margins)
    if not mean:
        return None
    return int(np.ceil(((norm.isf(level) * honest + norm.ppf(wanted) * turned) / mean) ** 2))
