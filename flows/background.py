"""Work that is done again and again in a thread beside something else."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeated(work: Callable[[], None], seconds: float) -> Iterator[None]:
    """Do `work` every so many seconds until the block ends, the first time when they are over."""
    over = threading.Event()

    def loop() -> None:
        while not over.wait(seconds):
            work()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
