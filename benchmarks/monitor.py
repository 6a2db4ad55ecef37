"""False alarms in a year without drift, and the delay to a shift, of what `attestrl monitor` watches. One JSON line.

    python benchmarks/monitor.py [--years 400] [--per-day 100] [--shifts 400] [--seed 0]

SIMULATED: no real traffic. A year is `--per-day` responses a day, with all the series of the monitor: numbers that are
normal, skewed, heavy-tailed or rounded, and events, correlated with each other. Without drift every alarm is false;
they are counted over all series together. For the delay, a series of each kind is moved by 0.2 of its standard
deviations (events: their frequency by as much) after a month, and the responses until its alarm are counted. `--cycle`
adds a daily round of traffic of that many standard deviations, `--week` a difference between weekend and week.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from scipy.special import ndtr  # noqa: E402

from benchmarks.machine import described  # noqa: E402
from tasks import params  # noqa: E402
from tasks.drift import Watch  # noqa: E402
from tasks.monitor_series import EVENTS, SERIES  # noqa: E402
from tasks.stats.intervals import wilson  # noqa: E402

RATES = {"refusal": 0.05, "harm": 0.3}
KINDS = {
    "prompt_length": lambda z: np.exp(0.5 * z),
    "prompt_distance": ndtr,
    "response_length": lambda z: np.round(4 + z),
    "reward": lambda z: z,
    "uncertainty": np.abs,
}
TAILS = 3  # degrees of freedom of the topics' t distribution


def traffic(rng: np.random.Generator, days: int, per_day: int, cycle: float, week: float) -> np.ndarray:
    """(days · per_day, series) correlated standard normal numbers, with a daily and a weekly round if asked for."""
    n = days * per_day
    shared, own = rng.normal(size=(n, 1)), rng.normal(size=(n, len(SERIES)))
    day = np.arange(n) / per_day
    round_ = cycle * np.sqrt(2) * np.sin(2 * np.pi * day) + week * (day.astype(int) % 7 >= 5)
    return 0.5 * shared + np.sqrt(0.75) * own + round_[:, None]


def values(name: str, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A series' values from its normal numbers."""
    if name in EVENTS:
        return (ndtr(z) > 1 - RATES[name]).astype(float)
    if name in KINDS:
        return np.asarray(KINDS[name](z))
    return z / np.sqrt(rng.chisquare(TAILS, len(z)) / TAILS)


def watch_all(
    columns: dict[str, np.ndarray], per_day: int, days: int, rng: np.random.Generator, settings: Any, limit: float
) -> list[tuple[str, int]]:
    """(series, index) of every alarm; a day is read at a time, in drawn order, as the monitor does."""
    n = days * per_day
    weights, times = np.full(n, 1 / per_day / 365), np.arange(n) / per_day
    order = np.concatenate([d * per_day + rng.permutation(per_day) for d in range(days)])
    return [
        (name, alarm.index)
        for name, x in columns.items()
        for alarm in Watch(name in EVENTS, settings.reference).read(x[order], weights, times, rng.random(n), limit)
    ]


def shifted(name: str, x: np.ndarray, z: np.ndarray, at: int, by: float) -> np.ndarray:
    """A series whose mean moves by `by` standard deviations from index `at` on."""
    x = x.copy()
    if name in EVENTS:
        rate = RATES[name]
        x[at:] = ndtr(z[at:]) > 1 - (rate + by * np.sqrt(rate * (1 - rate)))
    else:
        x[at:] += by * x[:at].std()
    return x


def delays(given: argparse.Namespace, settings: Any, limit: float) -> dict[str, Any]:
    """Responses from the shift to the alarm, by series."""
    result: dict[str, Any] = {}
    days, at = 90, 30
    for number, name in enumerate(("reward", "prompt_length", "prompt_topic_1", "refusal", "harm")):
        found: list[int] = []
        missed = early = 0
        for k in range(given.shifts):
            rng = np.random.default_rng([given.seed, 1, number, k])
            z = traffic(rng, days, given.per_day, 0, 0)[:, SERIES.index(name)]
            x = shifted(name, values(name, z, rng), z, at * given.per_day, given.shift)
            alarms = [
                i - at * given.per_day for _, i in watch_all({name: x}, given.per_day, days, rng, settings, limit)
            ]
            early += any(i < 0 for i in alarms)
            after = [i + 1 for i in alarms if i >= 0]
            found += after[:1]
            missed += not after
        low, high = np.quantile(_means(np.array(found), given.seed), [0.025, 0.975]) if found else (np.nan, np.nan)
        quantiles = np.quantile(found, [0.5, 0.9, 0.99]) if found else []
        result[name] = {
            "mean": round(float(np.mean(found)), 1), "low": round(float(low), 1), "high": round(float(high), 1),
            "quantiles_50_90_99": [round(float(q)) for q in quantiles], "n": len(found), "missed_in_60_days": missed,
            "alarms_before": early,
        }  # fmt: skip
    return result


def _means(found: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([rng.choice(found, len(found)).mean() for _ in range(2000)])


def false_alarms(given: argparse.Namespace, settings: Any, limit: float) -> dict[str, Any]:
    """Alarms in years without drift."""
    counts, by_series = [], dict.fromkeys(SERIES, 0)
    for year in range(given.years):
        rng = np.random.default_rng([given.seed, 0, year])
        z = traffic(rng, 365, given.per_day, given.cycle, given.week)
        columns = {name: values(name, z[:, k], rng) for k, name in enumerate(SERIES)}
        alarms = watch_all(columns, given.per_day, 365, rng, settings, limit)
        counts.append(len(alarms))
        for name, _ in alarms:
            by_series[name] += 1
        if (year + 1) % 50 == 0:
            print(f"{year + 1} years: {np.mean(counts):.3f} false alarms a year", file=sys.stderr)
    from scipy.stats import chi2

    total = sum(counts)
    low, high = (chi2.ppf(0.025, 2 * total) / 2 if total else 0.0), chi2.ppf(0.975, 2 * total + 2) / 2
    quiet = int(np.sum(np.array(counts) == 0))
    return {
        "per_year": round(total / given.years, 3),
        "low": round(float(low) / given.years, 3),
        "high": round(float(high) / given.years, 3),
        "years": given.years,
        "most_in_one_year": max(counts),
        "years_without": [round(quiet / given.years, 3), *(round(x, 3) for x in wilson(quiet, given.years))],
        "by_series": by_series,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=int, default=400)
    parser.add_argument("--per-day", type=int, default=100)
    parser.add_argument("--shifts", type=int, default=400, help="simulated shifts for each series; 0: none")
    parser.add_argument("--shift", type=float, default=0.2, help="in standard deviations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cycle", type=float, default=0.0)
    parser.add_argument("--week", type=float, default=0.0)
    given = parser.parse_args()
    settings = params.load(ROOT / "params.yaml").monitor
    limit = len(SERIES) / settings.false_alarms_per_year
    started = time.process_time()
    result = {
        "benchmark": "monitor",
        "simulated": True,
        "series": len(SERIES),
        "permitted_per_year": settings.false_alarms_per_year,
        "per_day": given.per_day,
        "cycle": given.cycle,
        "week": given.week,
        "false_alarms": false_alarms(given, settings, limit) if given.years else None,
        "shift": given.shift,
        "responses_to_alarm": delays(given, settings, limit) if given.shifts else None,
        "seed": given.seed,
        "cpu_seconds": round(time.process_time() - started, 1),
    }
    print(json.dumps(result | described()))


if __name__ == "__main__":
    main()
