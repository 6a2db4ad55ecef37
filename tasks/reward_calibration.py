"""Whether the reward model's preference probabilities mean what they say: temperature, ECE, reliability diagram.

The temperature comes from the dev part of the training side; on the test side nothing is fitted, only measured.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tasks.plots import canvas, save
from tasks.splits import split_key
from tasks.stage import Stage
from tasks.stats.calibration import reliability, temperature, temperature_interval
from tasks.stats.intervals import wilson

RESAMPLES = 500


def calibrate(
    stage: Stage,
    dev: np.ndarray,
    weights: np.ndarray,
    rankings: np.ndarray,
    test: pl.DataFrame,
    margins: np.ndarray,
    level: float,
) -> list[dict[str, Any]]:
    """Rows of `metrics.json`; writes `reliability.png` and keeps the temperature in the record.

    `dev`, `weights`, `rankings` (m,): margins and weights of the dev pairs, and the number of each one's ranking;
    `margins` (n,): of the rows of `test`.
    """
    drawn: dict[str, Any] = {"level": level, "resamples": RESAMPLES, "seed": stage.seed}
    fitted = temperature(dev, weights)
    low, high = temperature_interval(dev, weights, clusters=rankings, **drawn)
    prompts = np.array([split_key(p) for p in test["prompt"].to_list()])
    raw = reliability(margins, 1.0, prompts, **drawn)
    scaled = reliability(margins, fitted, prompts, **drawn)
    picture = stage.report / "reliability.png"
    panels = {"T = 1": raw.curve, f"T = {fitted:.3g}, fitted on the training side": scaled.curve}
    _diagram(panels, picture, "reward model on the test side", level)
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


def _diagram(panels: Mapping[str, Sequence[tuple[float, float, int]]], path: Path, title: str, level: float) -> None:
    """Reliability diagrams: of each panel's bins (mean confidence, share right, pairs), the share with its Wilson
    interval against the confidence; on the diagonal both agree."""
    figure, axes = canvas(len(panels), title)
    for axis, (name, bins) in zip(axes, panels.items(), strict=True):
        confidence, share = [b[0] for b in bins], [b[1] for b in bins]
        ends = [wilson(round(s * n), n, level) for _, s, n in bins]
        errors = [[max(0.0, s - e[0]) for s, e in zip(share, ends, strict=True)]]
        errors.append([max(0.0, e[1] - s) for s, e in zip(share, ends, strict=True)])
        axis.plot([0.5, 1], [0.5, 1], color="0.7", linewidth=1)
        axis.errorbar(confidence, share, yerr=errors, marker="o", markersize=3, linewidth=1, capsize=2)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("mean confidence", fontsize=8)
        axis.set_ylabel("share right", fontsize=8)
    save(figure, path)


def _row(name: str, value: float, low: float, high: float, n: int, part: str | None = None) -> dict[str, Any]:
    return {"name": name, "value": value, "low": low, "high": high, "n": n, "slice": part}
