"""The flow that a worker runs: one stage, in a clone of its own, from the DVC remote and back to it.

`prefect worker start --type process --pool POOL` on a machine with this package, git, and access to the repository and
the DVC remote is all that a worker is. Whatever it makes lies in the temporary folder that Prefect gives each flow run.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.states import Completed, Crashed

from flows.background import repeated
from flows.checkpoint_store import CheckpointStore
from flows.elsewhere import ALIVE, REMOTE_SECONDS, call_dvc
from flows.leftovers import DVC_LOCK
from flows.stages import Outcome, run_stage
from governance.errors import BadInput, MissingComponent, explained
from tasks import environment, paths

CLONE = Path("project")


@flow(name="attestrl-stage", persist_result=False)
def stage_elsewhere(order: dict[str, Any]) -> State[Any]:
    """Run the stage of the order (`flows.elsewhere`); the state's message is the answer, as JSON.

    An order is begun once: of a pod that was taken away Kubernetes may start another by itself, while whoever waits has given
    the order again.
    """
    if flow_run.get_run_count() > 1:
        return Crashed(message="was begun before, by a process that is gone; who waits gives the order again")
    with _alive(order["alive_seconds"]):
        try:
            answer = _work(order)
        except Exception as error:
            known = explained(error)
            if known is None:
                raise
            answer = {"outcome": "failed", "message": str(known), "exit_code": known.exit_code}
    return Completed(message=json.dumps(answer))


def _work(order: dict[str, Any]) -> dict[str, Any]:
    _check_machine(order["need"])
    _clone(order)
    store = CheckpointStore(order["stage"])
    store.bring()
    call_dvc("pull", *order["inputs"])
    with store.kept_up():
        outcome = run_stage(order["stage"], order["parent_run"])
    if outcome.outcome == "failed":
        return _failed(outcome)
    call_dvc("push", order["stage"], patience=REMOTE_SECONDS)
    store.remove()
    from dvc.utils.serialize import load_yaml  # YAML 1.2, in which 5e-05 is a number

    return {"outcome": "made", "lock": load_yaml(str(DVC_LOCK))["stages"][order["stage"]]}


def _failed(outcome: Outcome) -> dict[str, Any]:
    return {"outcome": "failed", "message": outcome.message, "exit_code": outcome.exit_code}


def _check_machine(need: dict[str, Any]) -> None:
    """Raises MissingComponent if this machine has not what the stage needs."""
    import psutil

    have = psutil.virtual_memory().total / 1e9
    if have < need["memory_gb"]:
        raise MissingComponent(f"this worker has {have:.0f} GB of memory, and the stage needs {need['memory_gb']:g}.")
    if need["device"] == "gpu":
        import torch

        if torch.cuda.device_count() < need["number"]:
            raise MissingComponent(
                f"this worker has {torch.cuda.device_count()} GPUs, and the stage needs {need['number']}; start workers "
                f"of the pool {need['pool']} on machines that have them."
            )


def _clone(order: dict[str, Any]) -> None:
    """Go to a clone at the order's commit, with its parameters and lock."""
    repository, commit = order["repository"], order["commit"]
    if repository.startswith("-") or not commit.isalnum():
        raise BadInput(f"{repository} at {commit}: is no repository at a commit.")
    for command in (
        ["clone", "--quiet", "--no-checkout", "--", repository, str(CLONE)],
        ["-C", str(CLONE), "checkout", "--quiet", "--detach", commit],
    ):
        done = subprocess.run(["git", *command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["it did not say why"]
            said = next((line for line in lines if line.startswith("fatal: ")), lines[-1]).removeprefix("fatal: ")
            raise MissingComponent(f"the worker cannot get {commit[:12]} of {repository}: {said}; push the commit.")
    os.chdir(CLONE)
    os.environ["ATTESTRL_HOME"] = str(Path.cwd() / ".attestrl")
    environment.prepare()
    paths.PARAMS.write_text(order["params"], encoding="utf-8")
    if order["lock"]:
        DVC_LOCK.write_text(order["lock"], encoding="utf-8")


@contextmanager
def _alive(seconds: float) -> Iterator[None]:
    """Signs of life, until the block ends."""
    resource = {"prefect.resource.id": f"prefect.flow-run.{flow_run.get_id()}"}

    def beat() -> None:
        emit_event(ALIVE, resource=resource)

    beat()
    with repeated(beat, seconds):
        yield
