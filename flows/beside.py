"""Functions called in a process of its own beside this one.

To load MLflow takes two seconds of a core; meanwhile the process of a run loads Prefect on another. The process is a fork, so
it is made before this one has threads, and it ends with this one, however that ends: it waits for calls on a pipe whose
other end is gone then.
"""

import importlib
import itertools
import multiprocessing
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeVar

from governance.errors import MissingComponent, explained

T = TypeVar("T")


class Caller(Protocol):
    """How a function is called beside this process."""

    def __call__(self, function: Callable[..., T], *arguments: Any) -> Callable[[], T]:
        """Begin, and give a function that waits for what it returns or raises; both can be pickled."""


def here(function: Callable[..., T], *arguments: Any) -> Callable[[], T]:
    """A caller that does it in this process, when the result is asked for."""
    return partial(function, *arguments)


@contextmanager
def beside(library: str) -> Iterator[Caller]:
    """A caller for a process that loads `library` at once; for this one where a fork is not safe."""
    if sys.platform != "linux" or threading.active_count() > 1:
        yield here
        return
    forks = multiprocessing.get_context("fork")
    ours, theirs = forks.Pipe()
    process = forks.Process(target=_serve, args=(library, ours, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield partial(_begin, ours, itertools.count())
    finally:
        ours.close()
        process.terminate()
        process.join()


def _begin(pipe: Connection, numbers: Iterator[int], function: Callable[..., T], *arguments: Any) -> Callable[[], T]:
    number = next(numbers)

    def result() -> T:
        answered, done = -1, False
        answer: Any = None
        try:
            while answered != number:  # nobody waited for an earlier one to its end
                answered, done, answer = pipe.recv()
        except (EOFError, ConnectionError):
            raise _gone() from None
        if not done:
            raise answer
        returned: T = answer
        return returned

    try:
        pipe.send((number, function, arguments))
    except ConnectionError:
        raise _gone() from None
    return result


def _gone() -> MissingComponent:
    return MissingComponent(
        "the process beside the run's, which works with MLflow, is gone (killed, or out of memory); run again to go on from here."
    )


def _serve(library: str, ours: Connection, theirs: Connection) -> None:
    ours.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for what waits
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    importlib.import_module(library)
    with suppress(EOFError, ConnectionError):  # whoever calls has ended
        while True:
            number, function, arguments = theirs.recv()
            try:
                answer = number, True, function(*arguments)
            except Exception as error:
                answer = number, False, explained(error) or _unforeseen(error)
            theirs.send(answer)


def _unforeseen(error: Exception) -> RuntimeError:
    """As it was, in words: it may hold what cannot be sent."""
    told = RuntimeError(f"{type(error).__name__}: {error}")
    told.add_note(traceback.format_exc())
    return told
