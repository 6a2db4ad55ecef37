"""What the curves of `overoptimization.py` say: peaks, fits and differences over seeds, as tables and a picture."""

import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import t

from tasks.plots import canvas, save

Curve = Sequence[dict[str, float]]
Run = dict[str, Curve]
RESAMPLES = 2000
BEST = "gold of best of n"  # at the most samples


def smoothed(run: Run, width: int = 5) -> Run:
    """The run with centred moving averages of both scores along PPO's curves; best-of-n's are expectations as they are."""
    half = width // 2
    return {name: _averages(curve, half) if name.startswith("PPO") else curve for name, curve in run.items()}


def _averages(curve: Curve, half: int) -> Curve:
    around = [curve[max(0, i - half) : i + half + 1] for i in range(len(curve))]
    return [
        {"d": point["d"]} | {k: statistics.fmean(p[k] for p in near) for k in ("gold", "proxy")}
        for point, near in zip(curve, around, strict=True)
    ]


def interval(values: Sequence[float]) -> list[float]:
    """[mean, low, high]: Student's 95 % interval over seeds."""
    mean, n = statistics.fmean(values), len(values)
    half = float(t.ppf(0.975, n - 1)) * statistics.stdev(values) / math.sqrt(n) if n > 1 else math.inf
    return [round(mean, 3), round(mean - half, 3), round(mean + half, 3)]


def peak(curve: Curve) -> dict[str, float]:
    """Where the gold score of a smoothed curve is highest. As a maximum of noisy values, `gold` leans upwards."""
    return max(curve, key=lambda p: p["gold"])


def stopped(curve: Curve, d: float) -> dict[str, float]:
    """The point of a smoothed curve where a budget of d² nats ends the training."""
    return next((p for p in curve if p["d"] >= d), curve[-1])


def budgets(curves: Sequence[Curve]) -> list[float]:
    """For each seed the mean d of the other seeds' peaks: a budget that has not seen the curve it is tried on."""
    peaks = [peak(c)["d"] for c in curves]
    return [statistics.fmean(p for k, p in enumerate(peaks) if k != i) for i in range(len(peaks))]


def fit(curves: Sequence[Curve], *, log: bool) -> np.ndarray:
    """(α, β) of gold(d) − gold(0) = d(α − β log d) for PPO (`log`), or d(α − β d) for best-of-n, by least squares over
    all points of all curves. gold(0) is 0 by standardisation; best-of-n's few prompts have a mean of their own."""
    points = [(p["d"], p["gold"] - (0.0 if log else c[0]["gold"])) for c in curves for p in c if p["d"] > 0.05]
    d, gain = np.array(points).T
    shape = np.stack([d, -d * np.log(d) if log else -d * d], 1)
    return np.linalg.lstsq(shape, gain, rcond=None)[0]


def bootstrap(curves: Sequence[Curve], statistic: Callable[[Sequence[Curve]], np.ndarray]) -> list[list[float]]:
    """[value, low, high] of each component; 95 % percentile intervals, whole seeds drawn."""
    rng = np.random.default_rng(0)
    draws = [
        statistic([curves[i] for i in rng.integers(len(curves), size=len(curves))])
        for _ in range(RESAMPLES if len(curves) > 1 else 1)
    ]
    rows = zip(statistic(curves), *np.quantile(draws, [0.025, 0.975], axis=0), strict=True)
    return [[round(float(x), 3) for x in row] for row in rows]


def figures(runs: Sequence[Run]) -> dict[str, dict[str, list[float]]]:
    """[value, low, high] of everything that the tables show, by optimiser."""
    found = {}
    even = [smoothed(run) for run in runs]
    for name in runs[0]:
        curves = [run[name] for run in even]
        peaks, ends = [peak(c) for c in curves], [c[-1] for c in curves]
        alpha, beta = bootstrap([run[name] for run in runs], partial(fit, log=name.startswith("PPO")))
        found[name] = {
            "peak d": interval([p["d"] for p in peaks]),
            "peak gold": interval([p["gold"] for p in peaks]),
            "final d": interval([e["d"] for e in ends]),
            "final gold": interval([e["gold"] for e in ends]),
            "final proxy": interval([e["proxy"] for e in ends]),
            "alpha": alpha,
            "beta": beta,
        }
        if len(runs) > 1:
            halts = [stopped(c, d) for c, d in zip(curves, budgets(curves), strict=True)]
            both = list(zip(halts, ends, strict=True))
            found[name]["gold lost after budget"] = interval([h["gold"] - e["gold"] for h, e in both])
            found[name]["proxy gained after budget"] = interval([e["proxy"] - h["proxy"] for h, e in both])
            kept = [h["gold"] / p["gold"] for h, p in zip(halts, peaks, strict=True)]
            found[name]["share of peak kept by budget"] = interval(kept)
    return found


def moved(runs: Sequence[Run]) -> dict[str, dict[str, list[float]]]:
    """PPO's peak and end, and best-of-n's end, less those of the proxy of less data, the smallest and the middle one, seed by
    seed."""
    names = [n for n in runs[0] if n.startswith("PPO")]
    found = {}
    even = [smoothed(run) for run in runs]
    for against in names[:3]:
        for name in (n for n in names if n not in names[: names.index(against) + 1]):
            pairs = [(run[name], run[against]) for run in even]
            peaks = [(peak(a), peak(b)) for a, b in pairs]
            found[f"{name.removeprefix('PPO, ')} less {against.removeprefix('PPO, ')}"] = {
                "peak d": interval([a["d"] - b["d"] for a, b in peaks]),
                "peak gold": interval([a["gold"] - b["gold"] for a, b in peaks]),
                "final gold": interval([a[-1]["gold"] - b[-1]["gold"] for a, b in pairs]),
                BEST: interval([run[_best(name)][-1]["gold"] - run[_best(against)][-1]["gold"] for run in runs]),
            }
    return found


def _best(name: str) -> str:
    """Best-of-n's curve of the same proxy."""
    return name.replace("PPO", "best of n", 1)


def table(rows: dict[str, dict[str, list[float]]], first: str, keys: Sequence[str]) -> list[str]:
    lines = ["| " + " | ".join([first, *keys]) + " |", "| --- " * (len(keys) + 1) + "|"]
    for name, row in rows.items():
        cells = ["{:.2f} [{:.2f}, {:.2f}]".format(*row[k]) if k in row else "" for k in keys]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return [*lines, ""]


def write_tables(runs: Sequence[Run], path: Path, command: str) -> None:
    """Tables as Markdown, to be read beside the picture of the same name."""
    rows = figures(runs)
    ppo = {n: r for n, r in rows.items() if n.startswith("PPO")}
    lines = [f"`{command}`, {len(runs)} seeds, SIMULATED.", ""]
    lines += table(rows, "optimiser, proxy", ["peak d", "peak gold", "final d", "final gold", "final proxy"])
    lines += table(rows, "fit", ["alpha", "beta"])
    kept = ["gold lost after budget", "proxy gained after budget", "share of peak kept by budget"]
    lines += table(ppo, "KL budget", kept) + table(
        moved(runs), "difference", ["peak d", "peak gold", "final gold", BEST]
    )
    lines += [f"![gold and proxy score against d]({path.stem}.png)", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def write_picture(runs: Sequence[Run], path: Path) -> None:
    """Gold and proxy score against d, one panel a proxy."""
    names, even = list(runs[0]), [smoothed(run) for run in runs]
    figure, axes = canvas(len(names) // 2, "SIMULATED: gold (solid) and proxy (dashed) score against √KL")
    for axis, pair in zip(axes, (names[i : i + 2] for i in range(0, len(names), 2)), strict=True):
        axis.set_title(pair[0].removeprefix("PPO, "), fontsize=9)
        for name, colour in zip(pair, ("tab:blue", "tab:orange"), strict=True):
            for curve in (run[name] for run in even):
                d = [p["d"] for p in curve]
                axis.plot(d, [p["gold"] for p in curve], color=colour, linewidth=0.8)
                axis.plot(d, [p["proxy"] for p in curve], color=colour, linewidth=0.8, linestyle="--")
    save(figure, path)
