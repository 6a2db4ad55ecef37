"""How much a crowd agrees with itself, by the usual coefficients, with bootstrap intervals over items."""

from typing import Any

import numpy as np

from tasks.stats.ballots import Ballots
from tasks.stats.count_patterns import Statistic, pattern_bootstrap
from tasks.stats.fleiss import fleiss_kappa
from tasks.stats.krippendorff import Alpha, Level, krippendorff_alpha
from tasks.stats.pairwise_agreement import raw_agreement

RESAMPLES = 200


def crowd_agreement(b: Ballots) -> dict[str, Any]:
    """Each coefficient of the votes, and of the stated confidence where there is one."""
    counts = np.stack([b.votes_of_items - b.ones_of_items, b.ones_of_items], axis=1)
    result: dict[str, Any] = {
        "pairwise": _bootstrapped(counts, raw_agreement),
        "fleiss_kappa": _bootstrapped(counts, fleiss_kappa),
        "krippendorff_alpha": _alpha(b.item, b.choice, "nominal"),
    }
    if b.confidence is not None:
        stated = np.isfinite(b.confidence)
        item, tenths = b.item[stated], np.round(10 * b.confidence[stated]).astype(np.int32)  # α is the same in any unit
        sure = np.where(tenths >= np.median(tenths), np.int8(2), np.int8(1))
        graded = np.where(b.choice[stated] == 1, sure, -sure)  # surely b, rather b, rather a, surely a
        result["krippendorff_alpha_graded_preference"] = _alpha(item, graded, "ordinal")
        result["krippendorff_alpha_confidence"] = _alpha(item, tenths, "interval")
    return result


def _alpha(item: np.ndarray, value: np.ndarray, level: Level) -> dict[str, Any]:
    a: Alpha = krippendorff_alpha(item, value, level, resamples=RESAMPLES)
    return {"level": level, "value": _number(a.alpha), "low": _number(a.low), "high": _number(a.high), "items": a.units}


def _bootstrapped(counts: np.ndarray, statistic: Statistic) -> dict[str, Any]:
    value, low, high = pattern_bootstrap(counts, statistic, RESAMPLES)
    return {"value": _number(value), "low": _number(low), "high": _number(high)}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
