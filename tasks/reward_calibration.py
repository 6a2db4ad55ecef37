"""Whether the reward model's preference probabilities mean what they say: temperature, ECE, reliability diagram.

The temperature comes from the dev part of the training side; on the test side nothing is fitted, only measured.
"""

from typing import Any

import numpy as np
import polars as pl

from tasks.plots import save_reliability
from tasks.splits import split_key
from tasks.stage import Stage
from tasks.stats.calibration import reliability, temperature, temperature_interval

RESAMPLES = 500


def calibrate(
    stage: Stage, dev: np.ndarray, weights: np.ndarray, test: pl.DataFrame, margins: np.ndarray, level: float
) -> list[dict[str, Any]]:
    """Rows of `metrics.json`; writes `reliability.png` and keeps the temperature in the record.

    `dev` (m,), `weights` (m,): margins and weights of the dev pairs; `margins` (n,): of the rows of `test`.
    """
    drawn: dict[str, Any] = {"level": level, "resamples": RESAMPLES, "seed": stage.seed}
    fitted = temperature(dev, weights)
    low, high = temperature_interval(dev, weights, **drawn)
    prompts = np.array([split_key(p) for p in test["prompt"].to_list()])
    raw = reliability(margins, 1.0, prompts, **drawn)
    scaled = reliability(margins, fitted, prompts, **drawn)
    picture = stage.report / "reliability.png"
    panels = {"T = 1": raw.curve, f"T = {fitted:.3g}, fitted on the training side": scaled.curve}
    save_reliability(panels, picture, "reward model on the test side")
    stage.log_artifact(picture)
    stage.notes["calibration"] = {
        "temperature": fitted,
        "fitted_on": len(dev),
        "ece": raw.ece,
        "ece_scaled": scaled.ece,
    }
    n = len(margins)
    return [
        _row("calibration/temperature", fitted, low, high, len(dev), "dev part of the training side"),
        _row("calibration/ece", raw.ece, raw.low, raw.high, n),
        _row("calibration/ece_scaled", scaled.ece, scaled.low, scaled.high, n),
        _row("calibration/ece_if_calibrated", *scaled.if_calibrated, n),
    ]


def _row(name: str, value: float, low: float, high: float, n: int, part: str | None = None) -> dict[str, Any]:
    return {"name": name, "value": value, "low": low, "high": high, "n": n, "slice": part}
