"""A stage on a worker of a Prefect work pool, from the side of the run that waits for it.

Run and worker share Prefect, MLflow, the git repository and the DVC remote, and nothing else. The order (a flow run's
parameters) names the commit and carries `params.yaml` and `dvc.lock`; inputs and outputs go through the DVC remote. A
worker gives signs of life; when they stay away the flow run is called crashed and the order given again, and whoever
takes it goes on from the last checkpoint in the remote. The one that was lost may come back: it can do no harm, since
what it pushes is named by its content and nobody waits for its answer.
"""

import json
import math
import re
import subprocess
import sys
import time
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any
from uuid import UUID

from flows import leftovers
from flows.checkpoint_store import CheckpointStore
from flows.dvc_calls import dvc
from flows.stages import Outcome, declared_stages, finished
from governance.errors import BadInput, MissingComponent
from tasks import lineage, operating_params, params, paths

ALIVE = "attestrl.stage.alive"  # the event that is a sign of life
ATTEMPTS = 3  # workers lost in a row without a new checkpoint: whatever ends them will end the next one, too
POLL_SECONDS = 1.0
REMOTE_SECONDS = 120.0  # that a DVC remote may be away or full when a stage's work is to go through it
AGAIN_SECONDS = 2.0
START_SECONDS = 120.0  # that a worker which is there may take until the flow run begins: it starts a process
POD_SECONDS = 1200.0  # and in a cluster, which may have to add a node and fetch an image of gigabytes


def run_stage(name: str, parent_run: str, need: operating_params.Need, settings: operating_params.Placement) -> Outcome:
    """Have a stage run on a worker of the pool that it needs, and bring its outputs here."""
    started = time.monotonic()
    order = _order(name, parent_run, need, settings)
    call_dvc("push", *order["inputs"])
    answer = _answer_of_some(order, str(need.pool), settings.lost_after_seconds)
    seconds = round(time.monotonic() - started, 3)
    if answer["outcome"] == "failed":
        return Outcome(name, "failed", seconds, message=answer["message"], exit_code=answer["exit_code"])
    _take_over(name, answer["lock"])
    return finished(name, "made", seconds)


def _answer_of_some(order: dict[str, Any], pool: str, lost_after: float) -> dict[str, Any]:
    """What the first worker answers that is not lost. Raises MissingComponent if too many are, none of which got further
    than the one before."""
    name, lost, whole = order["stage"], 0, None
    while (answer := _answer(order, pool, lost_after)) is None:
        lineage.end_lost(name, order["parent_run"])
        before, whole = whole, CheckpointStore(name).whole()
        lost = lost + 1 if whole == before else 1
        if lost == ATTEMPTS:
            raise MissingComponent(
                f"{ATTEMPTS} workers of the pool {pool} were lost one after another, and no checkpoint was made between; look "
                "at their logs, and run again to go on from the last checkpoint."
            )
        print(
            f"attestrl: {name}: a worker of the pool {pool} was lost; the next one goes on from the last checkpoint.",
            file=sys.stderr,
        )
    return answer


def call_dvc(*arguments: str, patience: float = 0.0) -> None:
    """Run a command of DVC, for as many seconds again as there is `patience` with a remote that is away or full. Raises
    MissingComponent with DVC's own sentence."""
    deadline, waits = time.monotonic() + patience, False
    while (done := subprocess.run(dvc(*arguments), capture_output=True, text=True, check=False)).returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["it did not say why"]
        said = f"dvc {arguments[0]}: {errors[0].removeprefix('ERROR: ')}"  # the last one only counts the others
        if time.monotonic() >= deadline:
            raise MissingComponent(said)
        if not waits:
            print(f"attestrl: {said}; trying again for {patience:g} s.", file=sys.stderr)
        waits = True
        time.sleep(AGAIN_SECONDS)


def _order(
    name: str, parent_run: str, need: operating_params.Need, settings: operating_params.Placement
) -> dict[str, Any]:
    """All that a worker must know."""
    commit = lineage.git_commit()
    if not commit.isalnum() or commit == "none":
        raise BadInput(f"a worker works on a commit, and this folder is at {commit}; commit and push first.")
    repository = settings.repository or _git("remote", "get-url", "origin")
    if not repository:
        raise BadInput("name what workers clone in placement.repository, or add the remote `origin`.")
    return {
        "stage": name,
        "commit": commit,
        "repository": repository,
        "params": paths.PARAMS.read_text(encoding="utf-8"),
        "lock": leftovers.DVC_LOCK.read_text(encoding="utf-8") if leftovers.DVC_LOCK.is_file() else "",
        "inputs": _inputs(name),
        "parent_run": parent_run,
        "need": need.model_dump(),
        "alive_seconds": settings.lost_after_seconds / 5,
    }


def _inputs(name: str) -> list[str]:
    """What DVC must bring to a clone: inputs that git has not, and the reports of the stages before, for the lineage."""
    every = params.load(paths.PARAMS).model_dump(mode="json", by_alias=True)
    named = [_filled(d, every) for d in declared_stages()[name].get("deps", [])]
    deps = [d for d in named if not _git("ls-files", "--", d)]
    before = paths.STAGES[: paths.STAGES.index(name)]
    return deps + [r for r in (paths.report(s).as_posix() for s in before) if Path(r).is_dir()]


def _filled(path: str, every: dict[str, Any]) -> str:
    """A path of `dvc.yaml` in which `${section.key}` is what params.yaml says."""
    return re.sub(r"\$\{([\w.]+)\}", lambda found: str(reduce(getitem, found[1].split("."), every)), path)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()


def _answer(order: dict[str, Any], pool: str, lost_after: float) -> dict[str, Any] | None:
    """What a worker answers to the order; None if it was lost."""
    from prefect import get_client
    from prefect.states import Crashed

    with get_client(sync_client=True) as client:
        deployment, cluster = _deployment(client, pool)
        variables = _variables(order["need"]) if cluster else None
        run = client.create_flow_run_from_deployment(deployment, parameters={"order": order}, job_variables=variables)
        watched = _Watched(client, lost_after, pool, cluster)
        while True:
            run = client.read_flow_run(run.id)
            state = run.state
            if state is not None and state.is_final():
                return _said(state)
            if state is not None and not state.is_scheduled() and watched.is_lost(run, state):
                client.set_flow_run_state(run.id, Crashed(message=f"no sign of life for {lost_after:g} s"), force=True)
                return None
            time.sleep(POLL_SECONDS)


def _said(state: Any) -> dict[str, Any] | None:
    """The answer in a final state; None if the worker's process ended without one."""
    try:
        answer: dict[str, Any] = json.loads(state.message or "")
    except ValueError:
        return None
    return answer


class _Watched:
    """A flow run and its signs of life. What counts is when they arrive here: clocks of two machines differ."""

    def __init__(self, client: Any, lost_after: float, pool: str, cluster: bool) -> None:
        self._client, self._lost_after, self._pool, self._cluster = client, lost_after, pool, cluster
        self._last: Any = None
        self._at = time.monotonic()

    def is_lost(self, run: Any, state: Any) -> bool:
        """Whether nothing was heard for too long since the worker took the flow run. That it runs is said by the process
        that is to give signs of life, and is one itself; until then Prefect says whether its worker is there."""
        from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter

        wanted = EventFilter(
            event=EventNameFilter(name=[ALIVE]), resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"])
        )
        newest = (state.type, [e.id for e in self._client.read_events(filter=wanted, limit=1).events])
        if newest != self._last:
            self._last, self._at = newest, time.monotonic()
        silent = time.monotonic() - self._at
        if silent <= self._lost_after:
            return False
        return not state.is_pending() or silent > self._start_seconds or self._is_offline(run)

    @property
    def _start_seconds(self) -> float:
        return POD_SECONDS if self._cluster else START_SECONDS

    def _is_offline(self, run: Any) -> bool:
        """Whether the worker that took the flow run has left out three of its heartbeats. In a cluster that says nothing: a
        job begins without it."""
        name = run.labels.get("prefect.worker.name")  # which the worker gives it before it starts the process
        workers = [] if self._cluster else self._client.read_workers_for_work_pool(self._pool)
        return any(w.name == name and w.status == "OFFLINE" for w in workers)


def _variables(need: dict[str, Any]) -> dict[str, Any]:
    """What the job of a stage asks its cluster for: variables of `deploy/kubernetes-pool.json`."""
    return {
        "gpus": need["number"] if need["device"] == "gpu" else 0,
        "memory": f"{math.ceil(need['memory_gb'] * 1000)}M",
    }


def _deployment(client: Any, pool: str) -> tuple[UUID, bool]:
    """The flow of the workers, deployed to the pool; whether that is in a Kubernetes cluster. Raises MissingComponent if
    nobody ever worked for the pool."""
    from prefect.exceptions import ObjectNotFound
    from prefect.types.entrypoint import EntrypointType

    from flows.worker import stage_elsewhere

    try:
        cluster = client.read_work_pool(pool).type == "kubernetes"
    except ObjectNotFound:
        raise MissingComponent(
            f"there is no work pool {pool}; start a worker: prefect worker start --type process --pool {pool}"
        ) from None
    deployment: Any = stage_elsewhere.to_deployment(
        pool, work_pool_name=pool, entrypoint_type=EntrypointType.MODULE_PATH
    )
    return deployment.apply(), cluster


def _take_over(name: str, entry: dict[str, Any]) -> None:
    """Make what a worker made this folder's own: its entry in `dvc.lock`, its outputs."""
    from dvc.utils.serialize import modify_yaml

    with modify_yaml(str(leftovers.DVC_LOCK)) as lock:
        lock.setdefault("schema", "2.0")
        lock.setdefault("stages", {})[name] = entry
    leftovers.keep_dvc_lock()
    call_dvc("pull", "--force", name, patience=REMOTE_SECONDS)
