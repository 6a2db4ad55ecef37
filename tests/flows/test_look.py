"""What `attestrl serve` asks at each look: the same from what was read once as from the whole log."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows import approval, recovery, schedules, watch
from governance import causes, decision
from governance.entry import Event
from governance.history import History, Readable
from governance.ledger import Ledger
from tests.conftest import ROOT

NOW = datetime.now(UTC)
QUESTIONS: dict[str, Callable[[Readable], Any]] = {
    "open runs": recovery.open_runs,
    "awaiting": decision.awaiting,
    "answered": causes.answered,
    "owed": schedules.owed,
    "missed": lambda log: [(str(p), s) for p, s in schedules._missed(log, NOW + timedelta(days=2))],
    "incidents": lambda log: list(watch._since_the_last_run(log, Event.INCIDENT_CLOSED, "incident", "incident_id")),
    "alarms": lambda log: list(watch._since_the_last_run(log, Event.ALARM, "drift", "alarm_id")),
    "reminded": lambda log: [e.run_id for e in log.entries("r1") if e.type == Event.REMINDED],
}


def live(ledger: Ledger, number: int) -> None:
    """A run that a slot started and that waits for a person, one that was killed, an alarm, a closed incident."""
    cause = schedules.slot_cause(NOW + timedelta(hours=number), "latest")
    causes.begin(ledger, cause, f"r{number}", "schedule:x", until="evaluate")
    with ledger.batch() as add:
        for event, run, data in (
            (Event.STAGE_MADE, f"r{number}", {"stage": "sft"}),
            (Event.GATE_VERDICT, f"r{number}", {"verdict": "pass"}),
            (Event.RUN_ENDED, f"r{number}", {}),
            (Event.RUN_STARTED, f"k{number}", {"cause": None}),
            (Event.INCIDENT_CLOSED, "", {"incident_id": f"i{number}"}),
            (Event.ALARM, f"r{number}", {"alarm_id": f"a{number}"}),
        ):
            add(event, run_id=run, actor="a", subject_digests={}, data=data)


def test_one_reading_says_what_the_whole_log_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy2(ROOT / "params.yaml", tmp_path / "params.yaml")
    ledger = Ledger(tmp_path / "ledger.jsonl")
    history = History(ledger)
    schedules.record(
        ledger, [schedules.read_plan({"interval": 3600, "parameters": {"catch_up": "all"}}, "x")], "user:a"
    )
    said: dict[str, set[str]] = {name: set() for name in QUESTIONS}
    for number in range(3):
        live(ledger, number)
        if number == 1:
            ledger.append(Event.RUN_KILLED, run_id="k0", actor="attestrl", subject_digests={}, data={})
            schedules.note_missed(ledger, history, NOW + timedelta(hours=6))
            assert approval.keep_time(ledger, history, NOW + timedelta(hours=30)).keys() == {"r0", "r1"}
            ledger.append(Event.REJECTED, run_id="r0", actor="user:a", subject_digests={}, data={})
        for name, ask in QUESTIONS.items():
            assert ask(history) == ask(ledger), name
            said[name].add(str(ask(history)))
    assert all(len(answers) > 1 for answers in said.values()), said
