"""The deployments that schedules and triggers start: a whole run, with what started it as its actor and its cause, and
what retention asks for."""

from datetime import UTC, datetime
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from flows import project, retention, schedules, sealing, worktrees
from governance import causes
from governance.causes import Answered, Cause
from governance.errors import AttestError
from governance.ledger import Log


@flow(name="attestrl-scheduled", persist_result=False)
def scheduled_run(cause: dict[str, Any] | None = None, catch_up: str = "latest") -> State[Any]:
    """Run the pipeline as it is configured, once for each cause; a run that is refused or fails is a failed flow run.

    `cause` comes from the event that a trigger answers. Without one, a slot of the schedule is the cause; a run that
    a person starts here by hand has none.
    """
    project.enter()
    from flows.run import execute

    queued = worktrees.queue()
    if queued:
        get_run_logger().info(_waits(queued))
    try:
        ledger = sealing.ledger()
        asked = causes.read(cause) if cause else _slot(ledger, catch_up)
        if isinstance(asked, str):
            return Completed(message=asked)
        actor = f"{'schedule' if asked and asked.kind == 'schedule' else 'trigger'}:attestrl-scheduled"
        record = execute(
            lambda: None,
            lambda _name, _outcome: None,
            actor=actor if asked else "prefect:by-hand",
            cause=asked,
            patient=True,
            queued=queued,
        )
    except Answered as answered:
        return Completed(message=str(answered))
    except AttestError as error:
        return Failed(message=str(error))
    if record["exit_code"]:
        return Failed(message=f"{record['run_id']}: {record['message'] or record['gate']['reasons']}")
    return Completed(message=record["run_id"])


def _waits(queued: worktrees.Queued) -> str:
    """What Prefect's log says of a run that waits for its turn."""
    left = f"; left out, as not committed: {', '.join(queued.left_out[:5])}" if queued.left_out else ""
    more = " and others" if len(queued.left_out) > 5 else ""
    return f"waits for its turn, at commit {queued.commit[:12]} with params.yaml as it is now{left}{more}"


def _slot(ledger: Log, catch_up: str) -> Cause | str | None:
    """The slot that this flow run is for; a sentence if it was missed and is not made up for; None if it is for none."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or not run.auto_scheduled or run.expected_start_time is None:
        return None
    slot, now = run.expected_start_time, datetime.now(UTC)
    if now - slot > schedules.LATE:
        if schedules.note_missed(ledger, ledger, now):
            sealing.seal("attestrl")
        if schedules.is_missed(ledger, slot):
            return f"the slot of {slot.isoformat(timespec='seconds')} was missed, and no run is owed for it"
    return schedules.slot_cause(slot, catch_up)


@flow(name="attestrl-retention", persist_result=False)
def scheduled_retention() -> State[Any]:
    """Act on data whose time is over, as `retention.yaml` beside them says; completed with what was said of it."""
    project.enter()
    said: list[str] = []
    try:
        retention.act("schedule:attestrl-retention", said.append)
    except AttestError as error:
        return Failed(message=str(error))
    return Completed(message=" ".join(said) or "nothing is due")
