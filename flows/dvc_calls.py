"""DVC's commands in processes of their own, each new or a fork of one that has the libraries loaded."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from flows import leftovers
from flows.warm_dvc import READY

Call = Callable[[list[str], Mapping[str, str]], int]  # DVC's arguments and environment: its exit code
FEW = 3  # stages, for which loading all libraries does not pay


def dvc(*arguments: str) -> list[str]:
    """A command of DVC, as this interpreter has it."""
    return [sys.executable, "-m", "dvc", *arguments]


def cold(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Run DVC in a new process."""
    return subprocess.run(dvc(*arguments), env=environment, stdout=sys.stderr, check=False).returncode


@contextlib.contextmanager
def caller(stages: int) -> Iterator[Call]:
    """What runs DVC for so many stages in a row. A fork is safe on Linux alone."""
    if sys.platform != "linux" or stages <= FEW:
        yield cold
        return
    # Stages that outlive the process are found by the environment that they were forked with (flows.leftovers).
    environment = {**os.environ, "ATTESTRL_RECEIPT": os.devnull, "SPT_NOENV": "1"}
    command = [sys.executable, "-m", "flows.warm_dvc", str(Path.cwd())]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        try:
            yield Warm(process)
        finally:
            process.kill()


class Warm:
    """Runs DVC as a fork of a process once that has loaded the libraries, and in a new process until then."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._ready = False

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ready(self) -> bool:
        """Whether the libraries are loaded."""
        answers = self._process.stdout
        assert answers is not None
        if not self._ready and select.select([answers], [], [], 0)[0]:
            self._ready = answers.readline().strip() == READY
        return self._ready

    def __call__(self, arguments: list[str], environment: Mapping[str, str]) -> int:
        """DVC's exit code; that of a killed one if the process is gone."""
        if not self.ready():
            return cold(arguments, environment)
        orders, answers = self._process.stdin, self._process.stdout
        assert orders is not None and answers is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                orders.write(json.dumps({"arguments": arguments, "environment": dict(environment)}) + "\n")
            answer = answers.readline()
        except BaseException:  # Ctrl-C, too
            self._process.kill()
            leftovers.end_leftovers()
            raise
        self._ready = bool(answer)
        return int(answer) if answer else -signal.SIGKILL
