"""One at a time in a project: a run, a removal of data, a backup; and beside them a run that is made again.

Who waits for a turn has a place in the line: a numbered file in `<home>/waiting/`, locked for as long as its process lives. A turn
is the lowest number's whose process is alive.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout

from governance.errors import MissingComponent
from tasks import paths

POLL_SECONDS = 0.1


class Busy(MissingComponent):
    """Another one is under way."""


@contextmanager
def alone(sentence: str, *, patient: bool = False, lock: str = "run.lock") -> Iterator[None]:
    """No other one meanwhile. While there is one, a `patient` caller waits, behind those who waited before; others get Busy
    with the `sentence`. The `lock` goes with the process that holds it, also if that is killed."""
    paths.home().mkdir(parents=True, exist_ok=True)
    wanted = FileLock(paths.home() / lock)
    try:
        held = _when_its_turn_comes(wanted) if patient else wanted.acquire(timeout=0)
    except Timeout:
        raise Busy(sentence) from None
    with held:
        yield


def _when_its_turn_comes(wanted: FileLock) -> AcquireReturnProxy[FileLock]:
    with _in_line(paths.home() / "waiting") as first:
        while True:
            if first():
                try:
                    return wanted.acquire(timeout=POLL_SECONDS)
                except Timeout:
                    continue
            time.sleep(POLL_SECONDS)


@contextmanager
def _in_line(line: Path) -> Iterator[Callable[[], bool]]:
    """Take a place; gives what says whether nobody waits before it."""
    line.mkdir(exist_ok=True)
    last = max((_place(file)[0] for file in line.glob("*.lock")), default=0)
    own = line / f"{last + 1}-{os.getpid()}.lock"
    with FileLock(own):
        try:
            yield lambda: all(_left(file) for file in line.glob("*.lock") if _place(file) < _place(own))
        finally:
            own.unlink(missing_ok=True)


def _place(file: Path) -> tuple[int, int]:
    """(number in the line, process): of two who came at the same moment the lower process is first."""
    number, process = file.stem.split("-")
    return int(number), int(process)


def _left(file: Path) -> bool:
    """Whether who waited there was killed; the place is then removed."""
    try:
        with FileLock(file).acquire(timeout=0):
            file.unlink(missing_ok=True)
    except Timeout:
        return False
    return True


def busy() -> bool:
    """Whether there is one at this moment."""
    try:
        with alone(""):
            return False
    except Busy:
        return True
    except OSError:  # a copy on a read-only medium: nothing runs there
        return False
