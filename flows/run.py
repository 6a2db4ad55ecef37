"""A run from its first ledger entry to its last: what happens around the stages, whoever or whatever started it."""

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flows import (
    cycles,
    documents,
    exclusive,
    notify,
    preflight,
    recovery,
    rounds,
    run_records,
    sealing,
    servers,
    snapshot,
    tracing,
    watch,
    worktrees,
)
from flows.beside import Caller, here
from flows.stages import Outcome, asked_for_changes, nothing_has_changed
from governance import causes
from governance.causes import Cause
from governance.decision import current_actor
from governance.digest import sha256_path
from governance.entry import Entry, Event
from governance.errors import MissingComponent, explained
from governance.history import History, Readable
from governance.ledger import Log
from governance.records import run_folders
from tasks import lineage, outages, params, paths

ID_TIME = "%Y%m%dT%H%M%SZ"


@dataclass
class Run:
    """State of a run while it goes on; everything in it is also on the disk."""

    run_id: str
    actor: str
    until: str
    ledger: Log
    on_stage: Callable[[str, Outcome | None], None]
    mlflow: Caller  # of functions that work with MLflow
    cause: Cause | None = None
    parent: str = ""
    project: str = ""
    started: float = field(default_factory=time.monotonic)
    outcomes: list[Outcome] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    round: dict[str, Any] | None = None  # what the rounds do next
    idle: bool = False  # known to make nothing, in the project's folder that others may change meanwhile
    closed: bool = False  # its record stands, and the ledger names it
    history: History = field(init=False)

    def __post_init__(self) -> None:
        self.history = History(self.ledger)

    @property
    def folder(self) -> Path:
        """Where the run's records are."""
        return paths.home() / "records" / self.run_id

    def log(self, event: Event, digests: dict[str, str] | None = None, **data: Any) -> None:
        """Append an entry of this run to the ledger, and keep it."""
        entry = self.ledger.append(
            event, run_id=self.run_id, actor=self.actor, subject_digests=digests or {}, data=data
        )
        self.entries.append(entry)


def _new_run_id() -> str:
    """Sorts by time, unique by four random bytes; made when a run's turn has come, so that runs, ledger and registry have one
    order. A clock that was set back does not change it: the time is then a second after the last run's."""
    now = datetime.now(UTC)
    for folder in run_folders(paths.home()):
        with suppress(ValueError):
            now = max(now, datetime.strptime(folder.name[:16], ID_TIME).replace(tzinfo=UTC) + timedelta(seconds=1))
    return f"{now:{ID_TIME}}-{secrets.token_hex(4)}"


def execute(
    prepare: Callable[[], None],
    on_stage: Callable[[str, Outcome | None], None],
    *,
    until: str = paths.STAGES[-1],
    actor: str | None = None,
    cause: Cause | None = None,
    patient: bool = False,
    queued: worktrees.Queued | None = None,
    mlflow: Caller = here,
) -> dict[str, Any]:
    """Do a run and give its record, which is written in every case: done, refused, failed or interrupted.

    `prepare` changes parameters before they are read; its errors end the run like any other. A `patient` run waits for
    another one to end; one that was `queued` works in a worktree. `mlflow` calls what works with MLflow.
    Raises Answered if a run was started for `cause` before.
    """
    busy = "another run is under way in this project; wait until it ends, then run again."
    # The server starts while this process reads and imports.
    with exclusive.alone(busy, patient=patient), servers.prefect_server() as ready, ExitStack() as place:
        run_id = _new_run_id()
        run = Run(run_id, actor or current_actor(), until, sealing.ledger(), on_stage, mlflow, cause)
        recovery.recover(run.ledger, run.history)
        commit = worktrees.commit(queued) if queued else lineage.git_commit()
        facts: dict[str, Any] = {"until": until, "git_commit": commit, "process": os.getpid(), "place": paths.place()}
        try:
            if cause:
                run.entries.append(causes.begin(run.ledger, cause, run_id, run.actor, **facts))
            else:
                run.log(Event.RUN_STARTED, **facts, cause=None)
        finally:
            sealing.seal(run.actor)  # that it began is signed before anything can kill it
        status, message, code = "failed", "", 1
        try:
            prepare()
            if cause:
                watch.bring(cause)
            rounds.begin()
            run.idle = queued is not None and worktrees.is_here(queued) and nothing_has_changed()
            if queued and not run.idle:
                place.enter_context(worktrees.worktree(run_id, queued))
                if cause and cause.kind == "base":  # names its revision in params.yaml, of which there are now two
                    watch.bring(cause)
            status, message, code = _run_stages(run, ready)
            return _close(run, ready, status, message, code)
        except BaseException as error:  # also Ctrl-C: the record says how the run ended, then the error goes on
            if run.closed:
                raise
            if known := explained(error):
                return _close(run, ready, "failed", str(known), known.exit_code)
            status, code = ("killed", 1) if isinstance(error, KeyboardInterrupt) else ("failed", 3)
            _close(run, ready, status, repr(error), code)
            raise


def _close(run: Run, server: Callable[[], str], status: str, message: str, code: int) -> dict[str, Any]:
    """Write how the run ended, and tell whom it concerns."""
    record = run_records.close(run, status, message, code)
    notify.run_ended(record, lambda: _prefect_at(server()))
    return record


def _run_stages(run: Run, server: Callable[[], str]) -> tuple[str, str, int]:
    """Status, sentence and exit code after the stages."""
    settings = params.load(paths.PARAMS)
    preflight.check(settings)
    run.project = settings.project
    snapshot.check_declarations()
    documents.check_declared(settings)
    with nullcontext(set) if run.idle else asked_for_changes() as changes:  # while this process loads Prefect
        parent = run.mlflow(_start_parent, run.project, run.run_id, _tags(run))
        _log_configuration(run, settings)
        try:
            url = server()
        except MissingComponent:
            run.parent = parent()  # where it is told that the run ended so
            raise
        with _prefect_at(url):
            ended = _through_prefect(run, parent, changes)
    if ended[0] == "done" and run.until == paths.STAGES[-1]:
        if any(o.name == "ppo" and o.outcome == "cached" for o in run.outcomes):
            run.mlflow(preflight.check_store, ["ppo"])()  # of whose policy the gate is asked
        run.round = rounds.after(run, settings)
    return ended


def _log_configuration(run: Run, settings: params.Params) -> None:
    parameters = settings.model_dump(mode="json", by_alias=True)
    changed = _changed(run.history, parameters)
    digests = {"params.yaml": sha256_path(paths.PARAMS)}
    run.log(Event.CONFIGURATION, digests, parameters=parameters, changed=changed, versions=watch.versions(settings))


@contextmanager
def _prefect_at(url: str) -> Iterator[None]:
    """Prefect's clients read the address from the environment."""
    before = os.environ.get("PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = url
    try:
        yield
    finally:
        if before is None:
            del os.environ["PREFECT_API_URL"]


def _through_prefect(run: Run, parent: Callable[[], str], changes: Callable[[], set[str]]) -> tuple[str, str, int]:
    from flows.pipeline import heartbeats, pipeline

    outages.announce_prefect()
    run.parent, changed = parent(), changes()
    started, ended = lambda name: run.on_stage(name, None), lambda o: _stage_ended(run, o)
    with tracing.traced(run.run_id), heartbeats(wanted=bool(changed)):
        state = pipeline(run.until, run.parent, changed, started, ended, return_state=True)
        if not state.is_completed():
            tracing.failed(str(state.message))
    failed = next((o for o in run.outcomes if o.outcome == "failed"), None)
    if failed:
        return ("refused" if failed.exit_code == 1 else "failed"), f"{failed.name}: {failed.message}", failed.exit_code
    if not state.is_completed():
        error = state.result(raise_on_failure=False)
        if isinstance(error, Exception):
            raise error
        return "failed", f"the flow ended in state {state.name}: {state.message}", 3
    return "done", "", 0


def _changed(history: Readable, parameters: dict[str, Any]) -> list[str]:
    """Keys of params.yaml that differ from those of the run before; none for the first run."""
    before = None
    for entry in history.entries():
        if entry.type == Event.CONFIGURATION:
            before = entry.data["parameters"]
    if before is None:
        return []
    old, new = _flat(before), _flat(parameters)
    return sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))


def _flat(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in section.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {prefix + key: value}
    return found


def _tags(run: Run) -> dict[str, str]:
    tags = {
        "attestrl.run_id": run.run_id,
        "attestrl.actor": run.actor,
        "attestrl.process": str(os.getpid()),
        "attestrl.place": paths.place(),
        "git_commit": lineage.git_commit(),
    }
    if run.cause:
        tags |= {"attestrl.cause": run.cause.kind, "attestrl.cause.sha256": run.cause.digest}
    return tags


def _start_parent(project: str, run_id: str, tags: dict[str, str]) -> str:
    """MLflow run that is the parent of every stage made by a run, after what earlier ones left there is set right."""
    import mlflow

    recovery.recover_store()
    experiment = lineage.connect(project)
    return str(mlflow.MlflowClient().create_run(experiment, run_name=run_id, tags=tags).info.run_id)


def _stage_ended(run: Run, outcome: Outcome) -> None:
    run.outcomes.append(outcome)
    digests = {o["path"]: o["sha256"] for o in outcome.outputs} | {f"input:{k}": v for k, v in outcome.inputs.items()}
    event = {"made": Event.STAGE_MADE, "cached": Event.STAGE_CACHED, "failed": Event.STAGE_FAILED}[outcome.outcome]
    run.log(event, digests, stage=outcome.name, mlflow_run_id=outcome.mlflow_run_id, message=outcome.message)
    if paths.BASE.as_posix() in digests:
        cycles.meet_base(run.ledger, run.history, run.run_id, run.actor, digests[paths.BASE.as_posix()])
    run.on_stage(outcome.name, outcome)
