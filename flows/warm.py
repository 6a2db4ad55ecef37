"""Processes for flow runs that begin with their libraries loaded.

`attestrl serve` starts every flow run in a process of its own. Python takes two seconds of a core to load Prefect before
such a process does anything; so one process loads the libraries once, and each flow run is a fork of it
(`multiprocessing`'s fork server). Of this project it loads nothing: a flow run has the code that is on the disk when it
begins.
"""

import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

import anyio
import anyio.abc

ENGINE = "prefect.engine"
# Libraries alone, and none that has started threads when it is loaded: a fork has only one.
LIBRARIES = [
    "prefect.flow_engine", "prefect.events", "mlflow", "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store", "sqlalchemy.dialects.sqlite", "typer", "scipy.stats", "psycopg2",
    "cryptography.x509", "model_signing", "jinja2", "ruamel.yaml",
]  # fmt: skip

_forks = multiprocessing.get_context("forkserver")


def install() -> None:
    """Have Prefect's runner start its flow runs as forks, and start what they are forks of."""
    from multiprocessing.forkserver import ensure_running

    from prefect.runner import _starter_engine

    _forks.set_forkserver_preload(LIBRARIES)
    ensure_running()
    _starter_engine.run_process = run_process  # type: ignore[attr-defined, assignment]  # where Prefect lets it be overridden


async def run_process(
    command: list[str],
    *,
    env: dict[str, str],
    task_status: anyio.abc.TaskStatus[Any],
    task_status_handler: Callable[[Any], Any],
    **_: Any,
) -> BaseProcess:
    """Start the engine of a flow run, tell who waits that it runs, and wait for its end. Whoever waits no longer ends it, as
    Prefect does with its own processes: the thread that waits would keep `attestrl serve` from ending before it."""
    process = _forks.Process(target=_engine, args=(env,))
    process.start()
    try:
        task_status.started(task_status_handler(process))
        await anyio.to_thread.run_sync(process.join, abandon_on_cancel=True)
    finally:
        process.terminate()
    return process


def _engine(environment: dict[str, str]) -> None:
    """What `python -m prefect.engine` does, in this process."""
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [ENGINE]
    sys.modules.pop(ENGINE, None)  # loaded as a library, and now as the program
    runpy.run_module(ENGINE, run_name="__main__", alter_sys=True)
