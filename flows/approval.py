"""Releases that wait for a person. A waiting release holds no worker: its flow run is suspended, and its process gone.

A decision comes from `attestrl approve` or from the form of the suspended flow run, through one function and with the
same record (`flows.release.decide`). Who opens the form is not known to Prefect's server, so the form asks for a name.
"""

from datetime import datetime, timedelta
from typing import Any

from prefect import flow, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.filters import FlowRunFilterStateType as OfType
from prefect.client.schemas.objects import State, StateType
from prefect.deployments import run_deployment
from prefect.events import emit_event
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.states import Completed, Failed

from flows import evaluation, listing, notify, project, release, sealing
from governance import decision
from governance.digest import sha256_bytes
from governance.entry import Event
from governance.errors import AttestError, GateRefused
from governance.history import Readable
from governance.ledger import Log
from tasks import params, paths

FLOW, DEPLOYMENT = "attestrl-release", "release"
FOREVER = timedelta(days=3650)  # Prefect wants an end to every wait
REMINDER = "attestrl.release.waiting"


class Decision(RunInput):
    """What the form asks."""

    approve: bool
    reason: str
    who: str
    shown: str = ""  # SHA-256 of what the form shows; it comes back as it is


@flow(name=FLOW, persist_result=False)
def release_waits(run_id: str) -> State[Any]:
    """Show a release and wait, without a process, for a decision on it."""
    project.enter()
    ledger = sealing.ledger()
    if run_id not in decision.awaiting(ledger):
        return Completed(message=f"{run_id} waits for no decision")
    shown = _shown(run_id, ledger)
    form = Decision.with_initial_data(description=f"```\n{shown}\n```", shown=sha256_bytes(shown.encode()))
    hours = params.load(paths.PARAMS).approval.timeout_hours
    limit = timedelta(hours=hours) if hours else FOREVER
    answer = suspend_flow_run(wait_for_input=form, timeout=int(limit.total_seconds()))
    try:
        return Completed(message=decide(run_id, answer))
    except AttestError as error:
        return Failed(message=str(error))


def decide(run_id: str, answer: Decision) -> str:
    """Record what the form says. Raises GateRefused where the person saw something else than what would be recorded."""
    if answer.shown not in ("", sha256_bytes(_shown(run_id, sealing.ledger()).encode())):
        raise GateRefused(
            f"{run_id}: what the form showed has changed since; `attestrl approve` or `reject` shows it as it is now."
        )
    who = " ".join(answer.who.split()) or "nobody"
    return release.decide(run_id, answer.reason, approved=answer.approve, show=print, actor=f"prefect-form:{who}")


def _shown(run_id: str, ledger: Log) -> str:
    """What a person reads before deciding."""
    return decision.shown(listing.load(run_id)) + evaluation.shown_report(run_id, ledger)[0]


def tend(ledger: Log, history: Readable, now: datetime) -> None:
    """Keep the time of releases that wait, open a form for each, close the forms of what was decided."""
    before = decision.awaiting(history)
    remind = keep_time(ledger, history, now)
    waiting = decision.awaiting(history)
    if remind or waiting.keys() != before.keys():
        sealing.seal("attestrl")
    for run_id, hours in remind.items():
        resource = {"prefect.resource.id": f"attestrl.run.{run_id}", "prefect.resource.name": run_id}
        emit_event(REMINDER, resource=resource, payload={"run_id": run_id, "waiting_hours": hours})
        notify.tell(f"Run {run_id} still waits for a decision", f"For {hours:.0f} hours; `attestrl show {run_id}`.")
    for run_id in waiting:
        name, key = f"{FLOW}/{DEPLOYMENT}", f"release-{run_id}"
        run_deployment(name, parameters={"run_id": run_id}, timeout=0, as_subflow=False, idempotency_key=key)
    _close_forms(set(waiting))


def keep_time(ledger: Log, history: Readable, now: datetime) -> dict[str, float]:
    """Record which releases have waited too long, and of which somebody is to be reminded: those, and since how many hours
    they wait. However long nobody looked, there is one reminder."""
    settings = params.load(paths.PARAMS).approval
    remind: dict[str, float] = {}
    for run_id, since in decision.awaiting(history).items():
        waited = now - since
        if settings.timeout_hours and waited >= timedelta(hours=settings.timeout_hours):
            _note(ledger, Event.EXPIRED, run_id, waited)
        elif settings.remind_hours:
            reminded = [e.ts for e in history.entries(run_id) if e.type == Event.REMINDED]
            last = datetime.fromisoformat(reminded[-1]) if reminded else since
            if now - last >= timedelta(hours=settings.remind_hours):
                _note(ledger, Event.REMINDED, run_id, waited)
                remind[run_id] = waited / timedelta(hours=1)
    return remind


def _note(ledger: Log, event: Event, run_id: str, waited: timedelta) -> None:
    hours = round(waited.total_seconds() / 3600, 1)
    ledger.append(event, run_id=run_id, actor="attestrl", subject_digests={}, data={"waiting_hours": hours})


def _close_forms(waiting: set[str]) -> None:
    """End suspended flow runs on whose release somebody decided another way, or for which it is too late."""
    with get_client(sync_client=True) as client:
        suspended = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW])),
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=OfType(any_=[StateType.PAUSED]))),
        )
        for run in suspended:
            if (run_id := run.parameters.get("run_id")) not in waiting:
                said: State[Any] = Completed(message=f"{run_id}: decided, or too late; see `attestrl show {run_id}`")
                client.set_flow_run_state(run.id, said, force=True)
