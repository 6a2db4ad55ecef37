"""One at a time in a project: a run, a removal of data, a backup; and beside them a run that is made again."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from governance.errors import MissingComponent
from tasks import paths


class Busy(MissingComponent):
    """Another one is under way."""


@contextmanager
def alone(sentence: str, *, patient: bool = False, lock: str = "run.lock") -> Iterator[None]:
    """No other one meanwhile. While there is one, a `patient` caller waits; others get Busy with the `sentence`. The `lock`
    goes with the process that holds it, also if that is killed."""
    paths.home().mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(paths.home() / lock).acquire(timeout=-1 if patient else 0)
    except Timeout:
        raise Busy(sentence) from None
    with held:
        yield


def busy() -> bool:
    """Whether there is one at this moment."""
    try:
        with alone(""):
            return False
    except Busy:
        return True
    except OSError:  # a copy on a read-only medium: nothing runs there
        return False
