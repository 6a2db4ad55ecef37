"""Flow runs as forks of a process with their libraries loaded."""

import signal
import time
from functools import partial
from multiprocessing.process import BaseProcess

import anyio
import pytest

from flows import warm


def lasts(environment: dict[str, str]) -> None:
    time.sleep(600)


def test_a_flow_run_ends_when_nobody_waits_for_it_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on SIGTERM to `attestrl serve` in the middle of a run."""
    monkeypatch.setattr(warm, "_engine", lasts)
    started: list[BaseProcess] = []

    async def served() -> None:
        async with anyio.create_task_group() as group:
            await group.start(partial(warm.run_process, [], env={}, task_status_handler=started.append))
            assert started[0].is_alive()
            group.cancel_scope.cancel()

    anyio.run(served)
    (process,) = started
    process.join(timeout=60)
    assert process.exitcode == -signal.SIGTERM
