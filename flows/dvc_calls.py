"""DVC's commands in processes of their own, each new or a fork of one that has the libraries loaded."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flows import leftovers
from flows.warm_dvc import READY
from tasks import paths

Call = Callable[[list[str], Mapping[str, str]], int]  # DVC's arguments and environment: its exit code
OWN_CACHE = Path(".dvc/cache")
FEW = 1  # stages, for which loading all libraries does not pay


def dvc(*arguments: str) -> list[str]:
    """A command of DVC, as this interpreter has it."""
    return [sys.executable, "-m", "dvc", *arguments]


def cache() -> Path:
    """Folder of DVC's cache, as its configuration has it: the project's own, or another that a team may share."""
    from dvc.config import Config

    folder = Path(Config(".dvc", validate=False)["cache"].get("dir") or OWN_CACHE)
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def cold(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Run DVC in a new process."""
    return subprocess.run(dvc(*arguments), env=environment, stdout=sys.stderr, check=False).returncode


@contextlib.contextmanager
def caller(stages: Sequence[str]) -> Iterator[Call]:
    """What runs DVC for these stages in a row. A fork is safe on Linux alone."""
    late = stages[:1] == paths.STAGES[:1]  # that one may refuse the data, and then nothing follows
    if sys.platform != "linux" or len(stages) - late <= FEW:
        yield cold
        return
    with contextlib.ExitStack() as held:
        warm = Warm(held, waits=not late)
        if not late:
            warm.load()
        yield warm


class Warm:
    """Runs DVC as a fork of a process once that has loaded the libraries, and in a new process until then; or it `waits` for
    that: a new process would have to load as much, and takes as long."""

    def __init__(self, held: contextlib.ExitStack, *, waits: bool) -> None:
        """`held` ends the process."""
        self._held, self._waits = held, waits
        self._process: subprocess.Popen[str] | None = None
        self._ready = False

    def load(self) -> None:
        """Start the process, if there was none yet."""
        if self._process is not None:
            return
        # Stages that outlive it are found by the environment that they were forked with (flows.leftovers).
        environment = {**os.environ, "ATTESTRL_RECEIPT": os.devnull, "SPT_NOENV": "1"}
        command = [sys.executable, "-m", "flows.warm_dvc", str(Path.cwd())]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self._process = self._held.enter_context(subprocess.Popen(command, env=environment, **pipes))
        self._held.callback(self._process.kill)

    @property
    def process(self) -> "subprocess.Popen[str]":
        """That loads, or has loaded, the libraries."""
        assert self._process is not None
        return self._process

    def ready(self) -> bool:
        """Whether the libraries are loaded, at once or, if it waits for them, as soon as that is known."""
        if self._process is None:
            return False
        answers = self._process.stdout
        assert answers is not None
        if not self._ready and select.select([answers], [], [], None if self._waits else 0)[0]:
            self._ready = answers.readline().strip() == READY
        return self._ready

    def __call__(self, arguments: list[str], environment: Mapping[str, str]) -> int:
        """DVC's exit code; that of a killed one if the process is gone."""
        if not self.ready():
            code = cold(arguments, environment)
            if code == 0:
                self.load()
            return code
        orders, answers = self.process.stdin, self.process.stdout
        assert orders is not None and answers is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                orders.write(json.dumps({"arguments": arguments, "environment": dict(environment)}) + "\n")
            answer = answers.readline()
        except BaseException:  # Ctrl-C, too
            self.process.kill()
            leftovers.end_leftovers()
            raise
        self._ready = bool(answer)
        return int(answer) if answer else -signal.SIGKILL
