"""What becomes of an alarm of the monitor: an entry in the ledger, perhaps an incident, an event that can start a flow.

Each step is done once: the store says which alarms are still to be recorded or emitted, and the ledger and Prefect know
an alarm by its id.
"""

import os
import uuid
from datetime import UTC, datetime
from typing import Any

from flows import containment, notify, sealing
from flows.servers import is_healthy
from governance import incidents
from governance.entry import Event
from tasks import params, paths
from tasks.monitor_store import MonitorStore

EVENT = "attestrl.monitor.alarm"
FIGURES = ("alarm_id", "series", "at", "since", "before", "after", "shift_sd", "responses")


def deliver(store: MonitorStore, severity: str | None, actor: str) -> list[str]:
    """Record and emit what is pending; sentences about what came of it. `severity`: of the incident that an alarm opens,
    None if it opens none."""
    notes: list[str] = []
    for alarm in store.pending("recorded"):
        _record(alarm, actor)
        if severity:
            notes.append(f"{_open_incident(alarm, severity, actor)} was opened for {alarm['alarm_id']}.")
        store.settle(alarm["alarm_id"], "recorded")
    pending = store.pending("emitted")
    if pending and not _emit(pending):
        return [*notes, f"{len(pending)} alarms wait to be emitted: PREFECT_API_URL names no server that answers."]
    for alarm in pending:
        store.settle(alarm["alarm_id"], "emitted")
    return notes


def _record(alarm: dict[str, Any], actor: str) -> None:
    ledger = sealing.ledger()
    known = (e.data["alarm_id"] for e in ledger.entries(alarm["run_id"]) if e.type == Event.ALARM)
    if alarm["alarm_id"] not in known:
        digests, data = {"policy": alarm["policy"]}, {k: alarm[k] for k in FIGURES}
        ledger.append(Event.ALARM, run_id=alarm["run_id"], actor=actor, subject_digests=digests, data=data)


def _open_incident(alarm: dict[str, Any], severity: str, actor: str) -> str:
    """Id of the incident of an alarm, opened if there is none yet."""
    ledger, summary = sealing.ledger(), f"{alarm['alarm_id']}: {alarm['sentence']}"
    known = next((i for i in incidents.incidents(ledger) if i.summary == summary), None)
    if known is None:
        concerned = containment.affected(alarm["run_id"])
        known = incidents.opened(
            ledger,
            severity=incidents.Severity(severity),
            summary=summary,
            actor=actor,
            aware=datetime.now(UTC),
            days=params.load(paths.PARAMS).incidents.report_days.model_dump(),
            run_id=concerned.pop("run_id", ""),
            affected=concerned,
        )
        containment.write_record(known.incident_id)
    return known.incident_id


def _emit(alarms: list[dict[str, Any]]) -> bool:
    """Whether the events reached the Prefect server. An event's id follows from the alarm's, so that one sent twice is
    one."""
    url = os.environ.get("PREFECT_API_URL")
    if not url or not is_healthy(url.rstrip("/")):
        return False
    from prefect.events import emit_event
    from prefect.events.worker import EventsWorker

    for alarm in alarms:
        emit_event(
            EVENT,
            resource={
                "prefect.resource.id": f"attestrl.policy.{alarm['policy'][:16]}",
                "prefect.resource.role": "policy",
                "attestrl.series": alarm["series"],
                "attestrl.run": alarm["run_id"],
            },
            payload=alarm,
            id=uuid.uuid5(uuid.NAMESPACE_OID, alarm["alarm_id"]),
        )
        notify.tell(f"Alarm {alarm['alarm_id']} of run {alarm['run_id']}", alarm["sentence"])
    EventsWorker.instance().drain()
    return True
