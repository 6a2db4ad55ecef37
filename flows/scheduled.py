"""The deployments that schedules start: a whole run, and what retention asks for, each with its schedule as the actor."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows import project, retention
from flows.run import execute, new_run_id
from governance.errors import AttestError


@flow(name="attestrl-scheduled", persist_result=False)
def scheduled_run() -> State[Any]:
    """Run the pipeline as it is configured; a run that is refused or fails is a failed flow run."""
    project.enter()
    record = execute(new_run_id(), lambda: None, lambda _name, _outcome: None, actor="schedule:attestrl-scheduled")
    if record["exit_code"]:
        return Failed(message=f"{record['run_id']}: {record['message'] or record['gate']['reasons']}")
    return Completed(message=record["run_id"])


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
