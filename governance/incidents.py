"""Incidents of a released policy: what happened, when it must be reported, what was done, and why it cannot come back.

The ledger is the only store: an incident is what its entries say. Due dates follow Regulation (EU) 2024/1689, Article
73: a serious incident is reported within 15 days after the provider became aware of it (paragraph 2), within 10 if a
person died (4), within 2 if it is widespread or disrupts critical infrastructure (3); the days stand in configuration.
"""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from governance.entry import Entry, Event
from governance.errors import BadInput
from governance.history import Readable
from governance.ledger import Log

SCHEMA = "attestrl/incident/1"


class Severity(StrEnum):
    """`other` is no serious incident in the sense of Article 3(49): it has no clock and blocks nothing."""

    DEATH = "death"
    WIDESPREAD = "widespread"
    SERIOUS = "serious"
    OTHER = "other"


@dataclass(frozen=True)
class Incident:
    """State of one incident; times are UTC in ISO 8601. `due` is None where no report is owed."""

    incident_id: str
    severity: Severity
    summary: str
    opened: str
    aware: str
    due: str | None
    run_id: str
    affected: dict[str, str]
    timeline: list[dict[str, str]]
    reported: str | None = None
    closed: str | None = None
    cause: str | None = None
    evaluation: dict[str, str] = field(default_factory=dict)

    @property
    def blocks(self) -> bool:
        """Whether no policy may be promoted meanwhile."""
        return self.closed is None and self.severity is not Severity.OTHER

    def overdue(self, now: datetime) -> bool:
        """Whether the report is late."""
        return bool(self.due and not self.reported and datetime.fromisoformat(self.due) < now)

    def as_dict(self) -> dict[str, Any]:
        """The record's JSON form."""
        return {"schema": SCHEMA, **asdict(self), "blocks": self.blocks}


def incidents(ledger: Readable) -> list[Incident]:
    """Every incident, in the order in which they were opened."""
    return _folded(e for e in ledger.entries() if e.type.startswith("incident."))


def blocking(ledger: Readable) -> tuple[str, ...]:
    """Ids of the incidents while which no policy may be promoted."""
    return tuple(i.incident_id for i in incidents(ledger) if i.blocks)


def find(ledger: Readable, incident_id: str) -> Incident:
    """One incident that is open. Raises BadInput if there is none of this id, or it is closed."""
    found = next((i for i in incidents(ledger) if i.incident_id == incident_id), None)
    if found is None:
        raise BadInput(f"{incident_id}: there is no such incident; `attestrl incident list` names them.")
    if found.closed:
        raise BadInput(f"{incident_id}: was closed on {found.closed[:10]}; open another one.")
    return found


def opened(
    ledger: Log,
    *,
    severity: Severity,
    summary: str,
    actor: str,
    aware: datetime,
    days: Mapping[str, int],
    run_id: str = "",
    affected: Mapping[str, str] | None = None,
) -> Incident:
    """Record a new incident. `days` has the days until the report is due, by severity; `affected` names policies and
    data by SHA-256. Raises BadInput for an empty summary or a time in the future."""
    if aware > datetime.now(UTC):
        raise BadInput(f"--aware {aware.isoformat()}: lies in the future; give the time when it became known.")
    due = aware + timedelta(days=days[severity]) if severity in days else None
    data = {
        "incident_id": f"inc-{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(3)}",
        "severity": str(severity),
        "summary": said("--summary", summary),
        "aware": aware.isoformat(timespec="seconds"),
        "due": due.isoformat(timespec="seconds") if due else None,
    }
    add(ledger, Event.INCIDENT_OPENED, actor, data, run_id=run_id, digests=affected)
    return find(ledger, str(data["incident_id"]))


def updated(ledger: Log, incident: Incident, *, note: str, actor: str, reported: bool) -> None:
    """Add to the timeline; `reported` says that the authority has the report."""
    data = {"incident_id": incident.incident_id, "note": said("--note", note), "reported": reported}
    add(ledger, Event.INCIDENT_UPDATED, actor, data, run_id=incident.run_id)


def closed(ledger: Log, incident: Incident, *, cause: str, evaluation: tuple[str, str], actor: str) -> None:
    """Close it: with its cause, and the evaluation (name, SHA-256) that would show it if it came back. Raises BadInput
    while a report is owed."""
    if incident.due and not incident.reported:
        raise BadInput(
            f"{incident.incident_id}: its report is not recorded, it was due on {incident.due[:10]}; "
            "`attestrl incident update … --reported` first."
        )
    data = {"incident_id": incident.incident_id, "cause": said("--cause", cause), "evaluation": evaluation[0]}
    add(ledger, Event.INCIDENT_CLOSED, actor, data, run_id=incident.run_id, digests={evaluation[0]: evaluation[1]})


def add(
    ledger: Log,
    event: Event,
    actor: str,
    data: dict[str, Any],
    *,
    run_id: str,
    digests: Mapping[str, str] | None = None,
) -> Entry:
    """Append an entry of an incident."""
    return ledger.append(event, run_id=run_id, actor=actor, subject_digests=dict(digests or {}), data=data)


def said(option: str, text: str) -> str:
    """What a person wrote. Raises BadInput if it is empty."""
    if not text.strip():
        raise BadInput(f"{option}: is empty; say what happened, it goes into the audit log.")
    return text.strip()


def _folded(entries: Iterable[Entry]) -> list[Incident]:
    state: dict[str, dict[str, Any]] = {}
    for e in entries:
        if e.type == Event.INCIDENT_OPENED:
            known = {k: e.data[k] for k in ("incident_id", "summary", "aware", "due")}
            known |= {"severity": Severity(e.data["severity"]), "opened": e.ts, "run_id": e.run_id, "timeline": []}
            state[e.data["incident_id"]] = known | {"affected": e.subject_digests}
        one = state[e.data["incident_id"]]
        text = e.data.get("summary") or e.data.get("note") or e.data.get("cause")
        one["timeline"].append({"ts": e.ts, "actor": e.actor, "what": e.type, "text": text})
        if e.data.get("reported"):
            one["reported"] = e.ts
        if e.type == Event.INCIDENT_CLOSED:
            one |= {"closed": e.ts, "cause": e.data["cause"], "evaluation": e.subject_digests}
    return [Incident(**one) for one in state.values()]
