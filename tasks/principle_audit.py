"""What principles say of people's held-out pairs: agreement by principle, what each adds, which contradict each other."""

from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from governance.errors import BadInput
from tasks import paths
from tasks.choice_models import Asked, Preferences
from tasks.principle_feedback import Case, longest, preferences
from tasks.principles import Principle
from tasks.splits import drawn_rows
from tasks.stage import Stage
from tasks.stats.intervals import bootstrap_mean, wilson, wilson_clustered
from tasks.stats.opposition import oppositions

TEST = paths.PROCESSED / "reward_test.parquet"
LEVEL = 0.95
FALSE_DISCOVERY = 0.05
RESAMPLES = 1000
Row = dict[str, Any]


def audited(
    stage: Stage, tokenizer: Any, principles: list[Principle], asked: Asked
) -> tuple[list[Row], dict[str, Any]]:
    """(rows of `metrics.json`, `principles.json`): every principle judges the same pairs, at most one of a prompt."""
    settings = stage.params.principles
    texts, names = [p.text for p in principles], [p.id for p in principles]
    every = pl.read_parquet(TEST).unique("prompt", keep="first", maintain_order=True)
    fits = [longest(tokenizer, c, texts) <= settings.max_tokens for c in _cases(every, "")]
    rows = drawn_rows(every.filter(pl.Series(fits, dtype=pl.Boolean)), settings.audit, "audit", stage.seed)
    if not rows.height:
        raise BadInput(
            f"principles.max_tokens: {settings.max_tokens} are fewer than any pair of {TEST} has; raise it, so that the "
            "principles can be compared with people."
        )
    found = preferences(asked, [case for p in principles for case in _cases(rows, p.text)])
    log_odds = found.log_odds.reshape(len(principles), rows.height).T
    opposed = [_named(asdict(o), names) for o in oppositions(log_odds, LEVEL)]
    contradictions = float(sum(o["contradict"] for o in opposed))
    figures = _agreement(log_odds, names) + _without(log_odds, names, stage.seed)
    figures += _reading(found, np.tile(np.arange(rows.height), len(principles)), stage.seed)
    figures.append(_row("contradictions", contradictions, None, len(opposed)))
    report = {
        "pairs": rows.height,
        "pairs_too_long": every.height - sum(fits),
        "false_discovery_rate": FALSE_DISCOVERY,
        "figures": figures,
        "oppositions": opposed,
        "log_odds": dict(zip(rows["id"].to_list(), _numbers(log_odds), strict=True)),
    }
    return figures, report


def _cases(rows: pl.DataFrame, text: str) -> list[Case]:
    columns = (rows[name].to_list() for name in ("prompt", "chosen", "rejected"))
    return [Case(p, c[-1]["content"], r[-1]["content"], text) for p, c, r in zip(*columns, strict=True)]


def _named(opposition: dict[str, Any], names: list[str]) -> dict[str, Any]:
    named = {side: names[opposition[side]] for side in ("first", "second")}
    return opposition | named | {"contradict": opposition["q"] <= FALSE_DISCOVERY}


def _agreement(log_odds: np.ndarray, names: list[str]) -> list[Row]:
    """How often each principle, and the mean of all, prefers what people chose, of the pairs that it decides."""
    rows = []
    for name, odds in zip((None, *names), (_mean(log_odds), *log_odds.T), strict=True):
        right = odds[np.nan_to_num(odds) != 0] > 0
        value = float(right.mean()) if len(right) else None
        rows.append(_row("agreement", value, wilson(int(right.sum()), len(right), LEVEL), len(right), name))
    return rows


def _without(log_odds: np.ndarray, names: list[str], seed: int) -> list[Row]:
    """What leaving one principle out of the mean changes: agreement with people, and how many pairs turn round."""
    every, rows = _mean(log_odds), []
    for k, name in enumerate(names if len(names) > 1 else []):
        others = _mean(np.delete(log_odds, k, axis=1))
        both = (every != 0) & (others != 0)
        n, before, after = int(both.sum()), every[both] > 0, others[both] > 0
        if n == 0:
            continue
        change, turned = after.astype(float) - before, before != after
        interval = bootstrap_mean(change, level=LEVEL, resamples=RESAMPLES, seed=seed)
        rows.append(_row("agreement_change_without", float(change.mean()), interval, n, name))
        rows.append(_row("turned_without", float(turned.mean()), wilson(int(turned.sum()), n, LEVEL), n, name))
    return rows


def _reading(found: Preferences, pairs: np.ndarray, seed: int) -> list[Row]:
    """Whether the model can be asked at all: how often both orders agree, how probable A or B is as an answer. `pairs` (n,):
    the pair of each question, whose questions stand and fall together."""
    read = ~np.isnan(found.log_odds)
    agree, mass, n = found.orders_agree[read], found.mass[read], int(read.sum())
    if n == 0:
        return []
    drawn: dict[str, Any] = {"level": LEVEL, "resamples": RESAMPLES, "seed": seed}
    either = bootstrap_mean(mass, clusters=pairs[read], **drawn)
    return [
        _row("audit_orders_agree", float(agree.mean()), wilson_clustered(agree, pairs[read], LEVEL), n),
        _row("answers_a_or_b", float(mass.mean()), either, n),
    ]


def _mean(log_odds: np.ndarray) -> np.ndarray:
    """(n,) mean over principles; those that an endpoint did not answer count as undecided."""
    means: np.ndarray = np.nan_to_num(log_odds).mean(1)
    return means


def _numbers(log_odds: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(x) else round(float(x), 4) for x in row] for row in log_odds]


def _row(
    name: str, value: float | None, interval: tuple[float, float] | None, n: int, principle: str | None = None
) -> Row:
    whole = f"principles/{name}" + (f"/{principle}" if principle else "")
    low, high = interval or (None, None)
    return {"name": whole, "value": value, "low": low, "high": high, "n": n, "slice": principle}
