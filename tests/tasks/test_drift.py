"""A watched series: silent without drift, an alarm soon after one, its state kept to the bit."""

import json

import numpy as np
import pytest

from tasks.drift import Alarm, Watch

LIMIT = 20.0  # years
PER_DAY = 200


def watch(values: np.ndarray, events: bool = False, pieces: int = 1, seed: int = 0) -> list[Alarm]:
    """SIMULATED: values of so many responses a day, read in pieces, the state written and read between them."""
    n = len(values)
    theta, times = np.random.default_rng(seed).random(n), np.arange(n) / PER_DAY
    weights, kept, alarms = np.full(n, 1 / PER_DAY / 365), Watch(events, 200).as_dict(), []
    for some in np.array_split(np.arange(n), pieces):
        series = Watch.from_dict(json.loads(json.dumps(kept)))
        found = series.read(values[some], weights[some], times[some], theta[some], LIMIT)
        alarms += [Alarm(a.index + int(some[0]), a.since, a.bet, a.evidence) for a in found]
        kept = series.as_dict()
    return alarms


@pytest.mark.parametrize("seed", range(5))
def test_no_alarm_without_drift(seed: int) -> None:
    assert watch(np.random.default_rng(seed).lognormal(size=20_000)) == []


@pytest.mark.parametrize("shift", [0.2, -0.4])
def test_a_shift_is_found_and_dated(shift: float) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=8000)
    values[4000:] += shift
    first, *_ = watch(values)
    assert 4000 < first.index < 4000 + 60 / shift**2
    assert abs(first.since - 4000 / PER_DAY) < 3
    assert first.bet.startswith("shift +" if shift > 0 else "shift -")


def test_a_change_of_spread_is_found() -> None:
    values = np.random.default_rng(2).normal(size=6000)
    values[3000:] *= 1.5
    first, *_ = watch(values)
    assert 3000 < first.index < 3600 and first.bet == "spread 1.4"


def test_rare_events_that_become_frequent_are_found() -> None:
    rng = np.random.default_rng(3)
    happened = np.r_[rng.random(3000) < 0.02, rng.random(3000) < 0.10].astype(float)
    first, *_ = watch(happened, events=True)
    assert 3000 < first.index < 3500


def test_an_alarm_begins_a_new_regime() -> None:
    values = np.random.default_rng(4).normal(size=30_000)
    values[5000:] += 1.0
    assert len(watch(values)) == 1


def test_pieces_and_kept_state_change_nothing() -> None:
    values = np.random.default_rng(5).normal(size=4000)
    values[2000:] += 0.5
    whole, pieces = watch(values), watch(values, pieces=13)
    assert [a.index for a in whole] == [a.index for a in pieces]
    assert [a.evidence for a in pieces] == pytest.approx([a.evidence for a in whole])


def test_one_time_for_all_is_no_reason_to_be_silent() -> None:
    values = np.random.default_rng(6).normal(size=4000)
    values[2000:] += 1.0
    series, nothing = Watch(False, 200), np.zeros(4000)
    assert series.read(values, nothing, nothing, np.random.default_rng(0).random(4000), LIMIT)
