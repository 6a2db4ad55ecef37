"""How long a release waits: reminders, the end of waiting, and that it is the end."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows import approval
from governance import decision
from governance.entry import Event
from governance.errors import GateRefused
from governance.ledger import Ledger

RUN = "20260101T000000Z-0a1b2c3d"


@pytest.fixture
def ledger(empty_project: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A run that passed its gate."""
    monkeypatch.chdir(empty_project)
    made = Ledger(empty_project / ".attestrl/ledger.jsonl")
    for event, digests, data in (
        (Event.RUN_STARTED, {}, {"cause": None}),
        (Event.GATE_VERDICT, {"policy": "a" * 64}, {"verdict": "pass", "reasons": []}),
        (Event.RUN_ENDED, {}, {"status": "done"}),
    ):
        made.append(event, run_id=RUN, actor="user:a", subject_digests=digests, data=data)
    return made


def after(hours: float) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


def types(ledger: Ledger) -> list[str]:
    return [e.type for e in ledger.entries(RUN)][3:]


def test_one_reminder_however_long_nobody_looked(ledger: Ledger) -> None:
    assert approval.keep_time(ledger, ledger, after(23)) == {}
    hours = approval.keep_time(ledger, ledger, after(100))
    assert hours == {RUN: pytest.approx(100, abs=0.1)}
    assert types(ledger) == ["decision.reminded"]
    assert approval.keep_time(ledger, ledger, after(23)) == {}  # a day after the reminder, by its own time


def test_what_nobody_decided_in_time_cannot_be_approved(ledger: Ledger) -> None:
    assert list(decision.awaiting(ledger)) == [RUN]
    assert approval.keep_time(ledger, ledger, after(14 * 24 + 1)) == {}
    assert types(ledger) == ["decision.expired"]
    assert decision.awaiting(ledger) == {}
    with pytest.raises(GateRefused, match="nobody decided in time"):
        decision.record_decision(ledger, run_id=RUN, approved=True, reason="late", actor="user:a", shown_text="x")


@pytest.mark.parametrize("event", [Event.APPROVED, Event.REJECTED, Event.EVALUATION_STALE])
def test_what_was_decided_or_is_stale_waits_no_longer(ledger: Ledger, event: Event) -> None:
    ledger.append(event, run_id=RUN, actor="user:a", subject_digests={}, data={})
    assert decision.awaiting(ledger) == {}
    assert approval.keep_time(ledger, ledger, after(1000)) == {}
