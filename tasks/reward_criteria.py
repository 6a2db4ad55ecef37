"""Heads by criterion: which rows train which head, and how well each head does on its own held-out pairs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from governance.errors import BadInput
from tasks.rankings import Ranking
from tasks.rlhf.reward_trainer import ALL_HEADS
from tasks.splits import split_key
from tasks.stats.calibration import reliability, temperature, temperature_interval
from tasks.stats.intervals import wilson_clustered

RESAMPLES = 500
Row = dict[str, Any]


def heads_of(rankings: list[Ranking], criteria: Mapping[str, float], table: Path) -> list[int]:
    """Index of each ranking's head; the weighted sum of all, `ALL_HEADS`, for a ranking without a criterion, or where no
    criteria are declared. Raises BadInput where a declared criterion has no rows, or a row's criterion is not declared."""
    if not criteria:
        return [ALL_HEADS] * len(rankings)
    found = {r.criterion for r in rankings} - {None}
    if absent := sorted(criteria.keys() - found):
        told = f"they are of {', '.join(sorted(map(str, found)))}" if found else "none names a criterion"
        raise BadInput(
            f"{table}: has no pairs of {', '.join(absent)} ({told}); give the data the field criterion, or take the name "
            "out of reward.criteria."
        )
    if unknown := sorted(map(str, found - criteria.keys())):
        raise BadInput(
            f"{table}: has pairs of {', '.join(unknown)}, which reward.criteria does not name; name it there (with weight "
            "0 it has a head, but no say in the score), or take the pairs out."
        )
    index = {None: ALL_HEADS} | {name: k for k, name in enumerate(criteria)}
    return [index[r.criterion] for r in rankings]


def measure(
    criterion: str,
    dev: tuple[np.ndarray, np.ndarray, np.ndarray],
    test: pl.DataFrame,
    margins: np.ndarray,
    clusters: np.ndarray,
    drawn: Mapping[str, Any],
) -> list[Row]:
    """Rows of `metrics.json` of one head: accuracy, temperature, and the ECE before and after it.

    `dev`: (margins, weights, number of the ranking), each (m,), of the criterion's pairs that nothing was trained on;
    `test`, `margins`, `clusters` (n,): its rows of the test side; `drawn`: level and seed of intervals.
    """
    n, right = test.height, margins > 0
    low, high = wilson_clustered(right, clusters, drawn["level"])
    rows = [_row("accuracy/test", criterion, float(right.mean()) if n else None, low, high, n)]
    held_out, weights, rankings = dev
    if not len(held_out):
        return rows
    again: dict[str, Any] = {**drawn, "resamples": RESAMPLES}
    fitted = temperature(held_out, weights)
    low, high = temperature_interval(held_out, weights, clusters=rankings, **again)
    rows.append(_row("calibration/temperature", criterion, fitted, low, high, len(held_out)))
    if n:
        prompts = np.array([split_key(p) for p in test["prompt"].to_list()])
        for name, at in (("calibration/ece", 1.0), ("calibration/ece_scaled", fitted)):
            found = reliability(margins, at, prompts, **again)
            rows.append(_row(name, criterion, found.ece, found.low, found.high, n))
    return rows


def _row(name: str, criterion: str, value: float | None, low: float, high: float, n: int) -> Row:
    return {"name": f"{name}/{criterion}", "value": value, "low": low, "high": high, "n": n, "slice": criterion}
