"""The pipeline as a Prefect flow: one task a stage, in the order of `tasks.paths.STAGES`.

Prefect's own result caching stays off: DVC alone decides what is skipped.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Completed, Failed

from flows import tracing
from flows.dvc_calls import caller
from flows.placement import run_stage
from flows.stages import Outcome, finished
from tasks import paths

OnOutcome = Callable[[Outcome], None]
OnStart = Callable[[str], None]


@contextmanager
def heartbeats(*, wanted: bool) -> Iterator[None]:
    """Without them, flow runs that begin inside send Prefect none. It waits up to a second for the thread that sends them, and a
    run in which nothing has changed is over long before the second one is due."""
    with temporary_settings({} if wanted else {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


@task(cache_policy=NO_CACHE, task_run_name="{name}", persist_result=False)
def stage(name: str, parent_run: str, changed: bool, call: Any, started: Any, ended: Any) -> State[Any]:
    """Bring one stage up to date; the state's name is its outcome."""
    started(name)
    outcome = run_stage(name, parent_run, call) if changed else finished(name, "cached")
    tracing.describe(outcome)
    ended(outcome)
    if outcome.outcome == "failed":
        return Failed(message=f"{name}: {outcome.message}")
    return Completed(name=outcome.outcome.capitalize(), data=outcome.outcome)


@flow(name="attestrl-pipeline", validate_parameters=False, persist_result=False)
def pipeline(until: str, parent_run: str, changed: set[str], started: OnStart, ended: OnOutcome) -> State[Any]:
    """Run the stages up to `until`; stop at the first that fails. `changed` are the stages that have changed.

    A stage that DVC calls unchanged is not run. From the first changed one on, each is asked anew: its inputs may be
    others by then.
    """
    names = paths.STAGES[: paths.STAGES.index(until) + 1]
    first = next((at for at, name in enumerate(names) if name in changed), len(names))
    with caller(names[first:]) as call:
        for at, name in enumerate(names):
            state = stage(name, parent_run, at >= first, call, started, ended, return_state=True)
            if state.is_failed():
                return Failed(message=state.message)
    return Completed(message=f"done up to {until}")
