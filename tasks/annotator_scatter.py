"""The scatter of the annotator check's pages: reliability against volume, as SVG."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

WIDTH, HEIGHT, LEFT, BOTTOM = 760, 380, 46, 34  # pixels of the scatter
DOTS = 3000  # at most so many unsuspicious annotators are drawn: evenly spread over their volumes


@dataclass(frozen=True)
class Dot:
    """An annotator in the scatter, in pixels: centre, ends of the interval."""

    x: float
    y: float
    low: float
    high: float
    kind: str
    number: int
    title: str


@dataclass(frozen=True)
class Scatter:
    """Reliability against volume (a logarithmic axis), `ticks` as (pixel, label); `left_out`: dots not drawn."""

    dots: list[Dot]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    left_out: int
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    bottom: int = BOTTOM


def scatter(people: pl.DataFrame) -> Scatter:
    """`people`: the table of annotators with `number` and `label`."""
    plain = people.filter(pl.col("action") == "weight").sort("n_votes", "number")
    drawn = np.unique(np.linspace(0, plain.height - 1, min(DOTS, plain.height)).round().astype(int))
    rest = people.filter(pl.col("action") != "weight")[:DOTS]
    shown = pl.concat([plain[drawn.tolist()], rest])
    exponents = np.log10(np.maximum(people["n_votes"].to_numpy(), 1))
    start, end = float(np.floor(exponents.min())), float(max(np.ceil(exponents.max()), np.floor(exponents.min()) + 1))

    @cache  # many give as many votes
    def across(votes: float) -> float:
        return round(LEFT + (np.log10(max(votes, 1)) - start) / (end - start) * (WIDTH - LEFT - 10), 1)

    def up(share: float) -> float:
        return round((1 - share) * (HEIGHT - BOTTOM - 10) + 10, 1)

    dots = [
        Dot(across(r["n_votes"]), up(r["reliability"]), up(r["low"]), up(r["high"]), r["action"].split()[0], r["number"],
            f"{r['label']}: {r['reliability']:.0%} [{r['low']:.0%}, {r['high']:.0%}], {r['n_votes']} votes")
        for r in shown.select("n_votes", "reliability", "low", "high", "action", "number", "label").iter_rows(named=True)
    ]  # fmt: skip
    x_ticks = [(across(10**e), f"{10**e:,}") for e in range(int(start), int(end) + 1)]
    y_ticks = [(up(s / 4), f"{s / 4:.2f}") for s in range(5)]
    return Scatter(dots, x_ticks, y_ticks, people.height - shown.height)
