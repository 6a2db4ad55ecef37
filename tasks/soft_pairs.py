"""Pairs of SFT's answers of which a model preferred one, beside people's pairs.

A pair's label is soft. With p the probability that `chosen` is the better one, its weight is 2p − 1, as the weight of a pair that
people voted on is by their posterior (`tasks.curate`): at equal scores the loss then has the gradient of the cross-entropy with
p, and a pair that the model does not decide counts nothing.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tasks import paths
from tasks.params import Params
from tasks.tables import MESSAGES

TRAINED = ("id", "prompt", "chosen", "rejected", "source", "weight", "margin")
SCHEMA: dict[str, Any] = {
    **{"id": pl.String, "prompt": MESSAGES, "chosen": MESSAGES, "rejected": MESSAGES, "source": pl.String},
    **{"weight": pl.Float64, "margin": pl.Float64, "probability": pl.Float64},
}
Answers = tuple[str, str]


def in_use(settings: Params) -> list[Path]:
    """The tables that people's pairs are joined by."""
    used = {paths.PRINCIPLE_PAIRS: settings.principles.pairs, paths.OVERSIGHT_PAIRS: settings.oversight.pairs}
    return [file for file, pairs in used.items() if pairs]


def preferred(prompts: pl.DataFrame, answers: Sequence[Answers], log_odds: np.ndarray, source: str) -> pl.DataFrame:
    """Pairs of `SCHEMA`, with whatever more columns `prompts` (id, prompt, …) has; none of what is not decided.

    `prompts`, `answers`: (n,); `log_odds` (n,): that the first answer is the better one; 0 or not a number: nothing was decided.
    """
    extra = [name for name in prompts.columns if name not in SCHEMA]
    rows = []
    for row, (first, second), odds in zip(prompts.iter_rows(named=True), answers, log_odds.tolist(), strict=True):
        if odds == 0 or np.isnan(odds):
            continue
        chosen, rejected = (first, second) if odds > 0 else (second, first)
        rows.append(
            row
            | {
                "chosen": [{"role": "assistant", "content": chosen}],
                "rejected": [{"role": "assistant", "content": rejected}],
                "source": source,
                "weight": float(np.tanh(abs(odds) / 2)),  # 2 σ(x) − 1
                "margin": None,
                "probability": float(1 / (1 + np.exp(-abs(odds)))),
            }
        )
    return pl.DataFrame(rows, schema=SCHEMA | {name: prompts.schema[name] for name in extra})


def with_soft_pairs(people: pl.DataFrame, pairs: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Rows of people and, below them, pairs that models prefer, by what training reads of them."""
    some = [p.select(TRAINED) for p in pairs if p.height]
    return pl.concat([people, *some], how="diagonal") if some else people
