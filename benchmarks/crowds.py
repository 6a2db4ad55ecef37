"""Simulated crowds that vote on pairs of responses, with the truth beside the votes. Simulated, and marked so.

Item i has a clarity g_i ≥ 0, a better response, a topic and two lengths. An honest annotator j prefers a with log odds
s_j g_i t_i + p_j first + l_j longer: skill, and the mild tastes for position and length that real people have. Every
other behaviour changes what honest people would have said.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy.special import expit

TOPICS = 10
GROUP = 10  # colluding annotators in a group
HONEST = ("honest", "minority", "view_topics", "school")  # nobody of these is to be flagged
VIEWED = 4  # topics, the first ones, that some see otherwise together
START = np.datetime64("2026-01-05T08:00:00")


@dataclass(frozen=True)
class Crowd:
    """`votes` and `golden` as `attestrl check annotators` takes them; `behaviour` of each annotator_id."""

    votes: pl.DataFrame
    golden: pl.DataFrame
    behaviour: dict[str, str]


@dataclass
class _Votes:
    """Columns of all votes while behaviours are applied."""

    rng: np.random.Generator
    who: np.ndarray
    item: np.ndarray
    honest: np.ndarray
    truth: np.ndarray
    first: np.ndarray
    longer: np.ndarray
    topic: np.ndarray
    when: np.ndarray
    group: np.ndarray
    golden: np.ndarray


def _coin(v: _Votes, r: np.ndarray, p: float) -> np.ndarray:
    return v.rng.random(len(r)) < p


def _flip(v: _Votes, r: np.ndarray, turn: np.ndarray) -> np.ndarray:
    return np.where(turn, 1 - v.honest[r], v.honest[r])


def _seen_otherwise(item: np.ndarray) -> np.ndarray:
    """(n,) bool: items, half of all, of which the school holds another view; golden items never come from them."""
    return item.astype(np.int64) * 2654435761 >> 9 & 1 == 1


BEHAVIOURS: dict[str, Any] = {
    "inverted": lambda v, r: 1 - v.honest[r],
    "random": lambda v, r: v.rng.integers(0, 2, len(r)),
    "burst_bot": lambda v, r: v.rng.integers(0, 2, len(r)),
    "always_first": lambda v, r: np.where(_coin(v, r, 0.97), v.first[r], 1 - v.first[r]),
    "always_longer": lambda v, r: np.where(_coin(v, r, 0.97), v.longer[r], 1 - v.longer[r]),
    "always_a": lambda v, r: _coin(v, r, 0.97).astype(int),
    "flipper40": lambda v, r: _flip(v, r, _coin(v, r, 0.4)),
    "overconfident": lambda v, r: np.where(_coin(v, r, 0.55), v.truth[r], 1 - v.truth[r]),
    "topic_inverter": lambda v, r: _flip(v, r, v.topic[r] == v.who[r] % TOPICS),
    "minority": lambda v, r: _flip(v, r, v.topic[r] == 0),
    "view_topics": lambda v, r: _flip(v, r, v.topic[r] < VIEWED),
    "school": lambda v, r: _flip(v, r, _seen_otherwise(v.item[r])),
    "drift": lambda v, r: np.where(v.when[r] < 0.5, v.honest[r], v.rng.integers(0, 2, len(r))),
    "reads_late": lambda v, r: np.where(v.when[r] < 0.5, v.rng.integers(0, 2, len(r)), v.honest[r]),
    "lapse": lambda v, r: np.where(np.abs(v.when[r] - 0.5) < 0.2, v.rng.integers(0, 2, len(r)), v.honest[r]),
    "colluding": lambda v, r: ((v.item[r].astype(np.int64) * 2654435761 + v.group[r] * 97) >> 7) & 1,
    "knows_golden": lambda v, r: np.where(v.golden[r], v.truth[r], v.rng.integers(0, 2, len(r))),
}


def simulate(
    *,
    items: int,
    annotators: int,
    votes_per_item: int = 5,
    bad: dict[str, float] | None = None,
    agreement: float = 0.75,
    golden_share: float = 0.0,
    golden_per_annotator: int = 0,
    seed: int,
) -> Crowd:
    """`bad`: share of annotators with each behaviour; `agreement`: of an average honest annotator with the truth."""
    rng = np.random.default_rng(seed)
    behaviour = np.full(annotators, "honest", dtype=object)
    at = 0
    for name, share in (bad or {}).items():
        behaviour[at : at + round(share * annotators)] = name
        at += round(share * annotators)
    clarity = rng.exponential(_scale(agreement), items)
    truth, topic = rng.integers(0, 2, items), rng.integers(0, TOPICS, items)
    len_a, len_b = (np.exp(rng.normal(5.5, 0.6, items)).astype(int) + 10 for _ in range(2))
    who, item = rng.integers(0, annotators, items * votes_per_item), np.repeat(np.arange(items), votes_per_item)
    group = np.where(behaviour == "colluding", np.cumsum(behaviour == "colluding") // GROUP + 1, 0)
    for g in range(1, int(group.max()) + 1):  # a group votes on the same items
        rows = np.flatnonzero(group[who] == g)
        item[rows] = rng.choice(rng.choice(items, max(1, len(rows) // (GROUP - 2)), replace=False), len(rows))
    agreed = topic >= (VIEWED if "view_topics" in (bad or {}) else 1)
    agreed &= ~(_seen_otherwise(np.arange(items)) & ("school" in (bad or {})))
    known = rng.choice(np.flatnonzero(agreed), min(items // 2, max(200, int(golden_share * items))), replace=False)
    if golden_per_annotator:
        who = np.r_[who, np.repeat(np.arange(annotators), golden_per_annotator)]
        item = np.r_[item, rng.choice(known, annotators * golden_per_annotator)]
    with_golden = golden_share > 0 or golden_per_annotator > 0
    key = rng.permutation(np.unique(item.astype(np.int64) * annotators + who))
    item, who = key // annotators, key % annotators
    n = len(key)
    first, longer = rng.integers(0, 2, n), (len_a > len_b)[item].astype(int)
    skill = np.clip(rng.normal(1.0, 0.25, annotators), 0.3, None)
    taste_first, taste_longer = rng.normal(0.1, 0.1, annotators), rng.normal(0.15, 0.1, annotators)
    odds = skill[who] * clarity[item] * (2 * truth[item] - 1)
    odds += taste_first[who] * (2 * first - 1) + taste_longer[who] * (2 * longer - 1)
    honest = (rng.random(n) < expit(odds)).astype(int)
    on_golden = np.isin(item, known) if with_golden else np.zeros(n, dtype=bool)
    v = _Votes(rng, who, item, honest, truth[item], first, longer, topic[item], rng.random(n), group[who], on_golden)
    confidence = np.clip(expit(clarity[item]) + rng.normal(0, 0.1, n), 0.5, 1)
    seconds = np.exp(rng.normal(3.4, 0.6, n))
    choice = honest.copy()
    for name in bad or {}:
        rows = np.flatnonzero(behaviour[who] == name)
        choice[rows] = BEHAVIOURS[name](v, rows)
        if name == "overconfident":
            confidence[rows] = 0.95
        if name == "burst_bot":
            seconds[rows] = 1 + rng.random(len(rows))
    votes = pl.DataFrame(
        {
            "item_id": pl.Series(item),
            "annotator_id": pl.Series(who),
            "choice": choice.astype(np.int8),
            "a_first": first.astype(bool),
            "len_a": len_a[item],
            "len_b": len_b[item],
            "topic": topic[item],
            "created_at": _times(who, v.when, seconds),
            "confidence": confidence.round(3),
            "simulated": np.ones(n, dtype=bool),
        }
    ).with_columns(
        pl.format("i{}", "item_id").alias("item_id"),
        pl.format("sim-{}", "annotator_id").alias("annotator_id"),
        pl.format("topic-{}", "topic").alias("topic"),
        pl.col("created_at").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    golden = (
        pl.DataFrame({"item_id": known, "gold_choice": truth[known]})
        if with_golden
        else pl.DataFrame(schema={"item_id": pl.Int64, "gold_choice": pl.Int64})
    )
    golden = golden.with_columns(pl.format("i{}", "item_id").alias("item_id"))
    return Crowd(votes, golden, {f"sim-{j}": str(behaviour[j]) for j in np.unique(who)})


def _scale(agreement: float) -> float:
    """Mean of the exponential clarity at which an honest annotator of skill 1 agrees with the truth this often."""
    points = np.random.default_rng(0).exponential(1.0, 20_000)
    low, high = 0.01, 50.0
    for _ in range(50):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if expit(middle * points).mean() < agreement else (low, middle)
    return low


def _times(who: np.ndarray, when: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Sixty days; the votes of a day follow each other, each after the seconds that it took."""
    day = np.floor(when * 60)
    order = np.lexsort((when, who))
    step = seconds[order]
    new = np.r_[True, (who[order][1:] != who[order][:-1]) | (day[order][1:] != day[order][:-1])]
    run = np.cumsum(step)
    in_day = np.empty(len(who))
    in_day[order] = run - np.maximum.accumulate(np.where(new, run - step, 0))
    return (START + (day * 86400 + in_day + (who % 7) * 3600).astype("timedelta64[s]")).astype("datetime64[ms]")
