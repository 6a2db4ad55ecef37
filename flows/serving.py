"""`attestrl serve`: the deployments of `prefect.yaml` with their schedules and triggers, and the eyes of the triggers.

Every cause that is seen becomes a Prefect event `attestrl.<kind>`; the automations that `prefect.yaml` describes under
`triggers` answer it with a run of the deployment. An event may be lost, or delivered twice: it is sent again while no
run has followed, and the ledger lets one run begin for a cause.
"""

import importlib
import logging
import os
import signal
import sys
import threading
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from flows import board, exclusive, schedules, sealing, warm
from flows.schedules import Plan
from flows.servers import is_healthy, prefect_server
from flows.watch import Watcher
from governance import causes, decision
from governance.causes import Cause
from governance.decision import current_actor
from governance.errors import BadInput, MissingComponent, explained
from governance.history import History
from governance.ledger import Log
from tasks import params, paths

AT_ONCE = 4  # flow runs in processes of their own; runs of the pipeline take turns
ASK_SECONDS = 0.5  # so often the server is asked for flow runs that are due
AGAIN_SECONDS = 600  # after which an event is sent again for which no run has begun
ONE_AT_A_TIME = ("data", "votes", "base")  # what changes while its run waits is read by that run


@dataclass(frozen=True)
class Deployment:
    """A deployment of `prefect.yaml`."""

    name: str
    entrypoint: str
    description: str
    parameters: dict[str, Any]
    plans: list[Plan]
    triggers: list[dict[str, Any]]

    def as_prefect(self) -> Any:
        """The deployment as Prefect has it."""
        from prefect.events import DeploymentTriggerTypes
        from prefect.types.entrypoint import EntrypointType
        from pydantic import TypeAdapter

        file, _, function = self.entrypoint.partition(":")
        flow = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), function)
        read = TypeAdapter(DeploymentTriggerTypes)
        return flow.to_deployment(
            self.name,
            description=self.description,
            parameters=self.parameters,
            schedules=[p.as_prefect() for p in self.plans],
            triggers=[read.validate_python(t) for t in self.triggers],
            entrypoint_type=EntrypointType.MODULE_PATH,
        )


def read_deployments(file: Path, cron: str | None) -> list[Deployment]:
    """Deployments of a project; `cron`, in UTC, stands in for the schedules of the first."""
    import yaml

    try:
        listed = yaml.safe_load(file.read_text(encoding="utf-8"))["deployments"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        raise BadInput(f"{file}: cannot be read, or lists no deployments.") from None
    found = []
    for number, raw in enumerate(listed):
        where = f"{file}: deployment {raw.get('name', number + 1)}"
        given = raw.get("schedules") or []
        plans = [
            schedules.read_plan(s, f"{where}, schedule {n + 1}") for n, s in enumerate(given) if s.get("active", True)
        ]
        if cron and number == 0:
            plans = [schedules.read_plan({"cron": cron}, "--cron")]
        if "name" not in raw or ":" not in raw.get("entrypoint", ""):
            raise BadInput(f"{where}: needs a name and an entrypoint, as in flows/scheduled.py:scheduled_run.")
        more = (raw.get("description", ""), raw.get("parameters") or {}, plans, raw.get("triggers") or [])
        found.append(Deployment(raw["name"], raw["entrypoint"], *more))
    return found


def serve(cron: str | None) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    deployments = read_deployments(schedules.FILE, cron)
    plans = deployments[0].plans
    configured = "PREFECT_API_URL" in os.environ
    paths.home().mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with prefect_server() as ready:
        url = os.environ["PREFECT_API_URL"] = ready()
        when = "; ".join(f"{d.name} {p}" for d in deployments for p in d.plans) or "no schedule"
        typer.echo(f"serving {when}; Prefect UI: {url.removesuffix('/api')} (Ctrl-C ends it)", err=True)
        ledger = sealing.ledger()
        if schedules.record(ledger, plans, current_actor()):
            sealing.seal(current_actor())
        from prefect import serve as serve_all

        # On SIGTERM Prefect's runner leaves by sys.exit inside its loop; asyncio would print the connections it cancels.
        logging.getLogger("asyncio").addFilter(lambda _: False)
        warnings.filterwarnings("ignore", message="coroutine 'Runner.astop' was never awaited")
        warm.install()
        threading.Thread(target=_watch, args=(ledger,), daemon=True).start()
        options: dict[str, Any] = {"limit": AT_ONCE, "query_seconds": ASK_SECONDS, "pause_on_shutdown": False}
        while True:
            try:
                serve_all(*(d.as_prefect() for d in deployments), print_starting_message=False, **options)
                return
            except Exception:  # Prefect's runner gives up when its server is away for some seconds
                if not configured:
                    raise MissingComponent(
                        "the local Prefect server has ended; start `attestrl serve` again."
                    ) from None
            typer.echo("attestrl: the Prefect server does not answer; serving goes on when it does.", err=True)
            while not is_healthy(url):
                time.sleep(1)


def _watch(ledger: Log) -> None:
    """Look for causes and waiting releases until the process ends."""
    from flows import approval

    said: set[str] = set()

    def say(sentence: str) -> None:
        """Once: what is wrong now is wrong at the next look, too."""
        if sentence not in said:
            said.add(sentence)
            typer.echo(f"attestrl: {sentence}", err=True)

    history, watcher, sent = History(ledger), Watcher(say), dict[str, tuple[Cause, float]]()
    seen = board.Board(ledger)
    while True:
        try:
            time.sleep(params.load(paths.PARAMS).triggers.every_seconds)
            _note_killed(ledger, history)
            approval.tend(ledger, history, datetime.now(UTC))
            _announce(ledger, history, watcher, sent)
            board.write_metrics(seen.rows(), len(decision.awaiting(history)), paths.home() / board.METRICS)
        except Exception as error:  # whatever it is, the next look comes
            say(str(explained(error) or f"a look at the triggers failed: {type(error).__name__}: {error}"))


def _note_killed(ledger: Log, history: History) -> None:
    """Say of a run that was killed that it was, so that its cause may start another."""
    from flows import recovery

    if not recovery.open_runs(history):  # or a person's run would find the lock held by nobody
        return
    with suppress(exclusive.Busy), exclusive.alone("a run is under way in this project."):
        recovery.recover(ledger, history)
        sealing.seal("attestrl")


def _announce(ledger: Log, history: History, watcher: Watcher, sent: dict[str, tuple[Cause, float]]) -> None:
    """Send an event for each cause that has no run yet, and was not sent lately."""
    from prefect.events import emit_event

    if schedules.note_missed(ledger, history, datetime.now(UTC)):
        sealing.seal("attestrl")
    due = watcher.due(history)
    answered = causes.answered(history)
    for digest, (_, at) in list(sent.items()):
        if digest in answered or time.monotonic() - at > AGAIN_SECONDS:
            del sent[digest]
    for cause in due:
        waiting = {c.kind for c, _ in sent.values()}
        if cause.digest in sent or (cause.kind in ONE_AT_A_TIME and cause.kind in waiting):
            continue
        resource = {"prefect.resource.id": f"attestrl.cause.{cause.digest}", "prefect.resource.name": cause.kind}
        emit_event(f"attestrl.{cause.kind}", resource=resource, payload=cause.as_dict())
        sent[cause.digest] = (cause, time.monotonic())
