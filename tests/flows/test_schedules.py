"""Schedules: what is refused, which slots there are, and what becomes of those that were missed."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows import schedules
from flows.schedules import Plan, read_plan
from governance import causes
from governance.causes import Answered
from governance.entry import Event
from governance.errors import BadInput
from governance.ledger import Ledger

ROOT = Path(__file__).resolve().parents[2]


def plan(catch_up: str = "latest", **given: Any) -> Plan:
    return read_plan({"parameters": {"catch_up": catch_up}, **given}, "here")


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({}, "exactly one"),
        ({"cron": "* * * * *", "interval": 60}, "exactly one"),
        ({"cron": "61 * * * *"}, "cron expression"),
        ({"interval": 0}, "above 0"),
        ({"interval": True}, "above 0"),
        ({"interval": "daily"}, "above 0"),
        ({"cron": "* * * * *", "timezone": "Mars/Olympus"}, "time zone"),
        ({"interval": 60, "anchor_date": "tomorrow"}, "ISO 8601"),
        ({"interval": 60, "parameters": {"catch_up": "some"}}, "none, latest, all"),
    ],
)
def test_what_is_no_schedule_is_one_sentence(given: dict[str, Any], word: str) -> None:
    with pytest.raises(BadInput, match=word):
        read_plan(given, "prefect.yaml")


def test_slots_keep_the_wall_clock_of_their_zone() -> None:
    """Three in the morning in Vienna is two o'clock UTC in winter, one in summer; clocks change on 2026-03-29."""
    found = plan(cron="0 4 * * *", timezone="Europe/Vienna").slots(
        datetime(2026, 3, 27, 12, tzinfo=UTC), datetime(2026, 3, 30, 12, tzinfo=UTC)
    )
    assert [s.strftime("%d %H") for s in found] == ["28 03", "29 02", "30 02"]


def test_intervals_are_counted_from_an_anchor_and_in_pieces() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    found = list(plan(interval=60).slots(start, start + timedelta(days=1)))
    assert len(found) == len(set(found)) == 24 * 60
    assert found[0] == start + timedelta(minutes=1)
    anchored = plan(interval=3600, anchor_date="2026-01-01T00:10:00")
    assert [s.minute for s in anchored.slots(start, start + timedelta(hours=2))] == [10, 10]


def missed(ledger: Ledger) -> list[dict[str, Any]]:
    return [e.data for e in ledger.entries() if e.type == Event.SLOT_MISSED]


@pytest.mark.parametrize(("policy", "owed"), [("none", 0), ("latest", 1), ("all", 5)])
def test_an_outage_is_recorded_once_and_made_up_for_as_the_policy_says(tmp_path: Path, policy: str, owed: int) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    hourly = plan(policy, interval=3600)
    schedules.note_missed(ledger, ledger, datetime.now(UTC) + timedelta(days=1))
    assert missed(ledger) == []  # nobody ever served a schedule
    schedules.record(ledger, [hourly], "user:a")
    schedules.record(ledger, [hourly], "user:a")
    assert sum(e.type == Event.SCHEDULE_SET for e in ledger.entries()) == 1
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    for _ in range(2):
        schedules.note_missed(ledger, ledger, hour + timedelta(hours=4, minutes=10))
    (entry,) = missed(ledger)
    assert (entry["slots"], entry["first"], len(entry["owed"])) == (5, hour.isoformat(timespec="seconds"), owed)
    found = schedules.owed(ledger)
    assert [c.identity["slot"] for c in found] == entry["owed"]
    assert schedules.is_missed(ledger, hour) == (policy != "all")
    for cause in found:
        causes.begin(ledger, cause, f"run-{cause.identity['slot']}", "schedule:x", until="evaluate")
        with pytest.raises(Answered):
            causes.begin(ledger, cause, "another", "schedule:x", until="evaluate")
    schedules.note_missed(ledger, ledger, hour + timedelta(hours=4, minutes=10))
    assert len(missed(ledger)) == 1


def test_a_slot_that_was_run_is_not_missed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    schedules.record(ledger, [plan(interval=3600)], "user:a")
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    causes.begin(ledger, schedules.slot_cause(hour, "latest"), "run-1", "schedule:x", until="evaluate")
    schedules.note_missed(ledger, ledger, hour + timedelta(minutes=30))
    assert missed(ledger) == []


def test_a_clock_that_goes_back_runs_no_slot_twice(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    schedules.record(ledger, [plan(interval=3600)], "user:a")
    later = datetime.now(UTC) + timedelta(hours=3)
    schedules.note_missed(ledger, ledger, later)
    before = missed(ledger)
    for moment in (later - timedelta(hours=2), later):
        schedules.note_missed(ledger, ledger, moment)
    assert missed(ledger) == before


def test_of_schedulers_that_begin_at_once_one_runs(tmp_path: Path) -> None:
    cause = schedules.slot_cause(datetime.now(UTC), "latest")
    together = threading.Barrier(4)

    def begin(number: int) -> bool:
        ledger = Ledger(tmp_path / "ledger.jsonl")  # each its own, as in a process of its own
        together.wait()
        try:
            causes.begin(ledger, cause, f"run-{number}", "schedule:x", until="evaluate")
        except Answered:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(begin, range(4))) == [False, False, False, True]
    assert Ledger(tmp_path / "ledger.jsonl").verify().entries == 1


def test_a_killed_run_answers_no_cause(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    cause = schedules.slot_cause(datetime.now(UTC), "latest")
    causes.begin(ledger, cause, "run-1", "schedule:x", until="evaluate")
    ledger.append(Event.RUN_KILLED, run_id="run-1", actor="attestrl", subject_digests={}, data={})
    causes.begin(ledger, cause, "run-2", "schedule:x", until="evaluate")
    assert causes.answered(ledger) == {cause.digest: "run-2"}
    for number in (2, 3):
        ledger.append(Event.RUN_KILLED, run_id=f"run-{number}", actor="attestrl", subject_digests={}, data={})
        if number < causes.ATTEMPTS:
            causes.begin(ledger, cause, f"run-{number + 1}", "schedule:x", until="evaluate")
    with pytest.raises(Answered):
        causes.begin(ledger, cause, "run-4", "schedule:x", until="evaluate")


def test_causes_are_read_as_they_were_sent_or_not_at_all() -> None:
    cause = causes.Cause("base", {"model": "m", "sha256": "a"}, {"before": "b"})
    assert causes.read(cause.as_dict()) == cause
    for wrong in ({}, {"kind": "whim", "identity": {"x": "y"}}, cause.as_dict() | {"digest": "0" * 64}):
        with pytest.raises(BadInput):
            causes.read(wrong)


def test_the_shipped_deployments_are_served_as_they_are_written() -> None:
    from flows.serving import read_deployments

    scheduled, release = read_deployments(ROOT / "prefect.yaml", None)[:2]
    assert [str(p) for p in scheduled.plans] == ["0 3 * * 1 (UTC)"]
    assert {e for t in scheduled.triggers for e in t["expect"]} == {f"attestrl.{kind}" for kind in causes.KINDS}
    assert release.plans == []
    made = scheduled.as_prefect()
    assert made.full_name == "attestrl-scheduled/scheduled"
    assert made.entrypoint == "flows.scheduled.scheduled_run"
    assert [str(p) for p in read_deployments(ROOT / "prefect.yaml", "0 4 * * *")[0].plans] == ["0 4 * * * (UTC)"]
