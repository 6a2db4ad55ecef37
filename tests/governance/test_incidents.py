"""Incidents are what the ledger says: clocks, what blocks a release, and how one is closed."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from governance import incidents
from governance.errors import BadInput
from governance.incidents import Incident, Severity
from governance.ledger import Ledger

DAYS = {"death": 10, "widespread": 2, "serious": 15}
SCHEMA = Path(incidents.__file__).parent / "schemas/incident.json"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.jsonl")


def opened(ledger: Ledger, severity: Severity = Severity.SERIOUS, **changed: Any) -> Incident:
    usual: dict[str, Any] = {
        "severity": severity,
        "summary": "it told a child how to hurt itself",
        "actor": "user:a",
        "aware": datetime(2026, 3, 1, tzinfo=UTC),
        "days": DAYS,
        "run_id": "r",
        "affected": {"data/models/policy": "1" * 64},
    }
    return incidents.opened(ledger, **(usual | changed))


@pytest.mark.parametrize(
    ("severity", "due"),
    [
        (Severity.SERIOUS, "2026-03-16T00:00:00+00:00"),
        (Severity.DEATH, "2026-03-11T00:00:00+00:00"),
        (Severity.WIDESPREAD, "2026-03-03T00:00:00+00:00"),
        (Severity.OTHER, None),
    ],
)
def test_the_clock_runs_from_becoming_aware(ledger: Ledger, severity: Severity, due: str | None) -> None:
    incident = opened(ledger, severity)
    assert incident.due == due
    assert incident.blocks == (due is not None)
    if due:
        at = datetime.fromisoformat(due)
        assert incident.overdue(at + timedelta(seconds=1))
        assert not incident.overdue(at - timedelta(seconds=1))


def test_from_opening_to_closing(ledger: Ledger) -> None:
    incident = opened(ledger)
    with pytest.raises(BadInput, match="report"):
        incidents.closed(ledger, incident, cause="a trigger", evaluation=("trigger.jsonl", "2" * 64), actor="user:b")
    incidents.updated(ledger, incident, note="authority has it", actor="user:b", reported=True)
    (known,) = incidents.incidents(ledger)
    assert known.blocks
    incidents.closed(ledger, known, cause="a trigger", evaluation=("trigger.jsonl", "2" * 64), actor="user:b")
    (known,) = incidents.incidents(ledger)
    assert not known.blocks
    assert known.evaluation == {"trigger.jsonl": "2" * 64}
    assert [t["what"] for t in known.timeline] == ["incident.opened", "incident.updated", "incident.closed"]
    with pytest.raises(BadInput, match="closed"):
        incidents.find(ledger, known.incident_id)
    assert ledger.verify().ok
    assert list(Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(known.as_dict())) == []


def test_what_cannot_be(ledger: Ledger) -> None:
    with pytest.raises(BadInput, match="future"):
        opened(ledger, aware=datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(BadInput, match="--summary"):
        opened(ledger, summary=" ")
    with pytest.raises(BadInput, match="no such incident"):
        incidents.find(ledger, "inc-20260101-abcdef")
