"""Work on parts of the data on two cores, with the results in the order of the parts, so that sums are the same bytes.

Threads are enough where the work is numpy's or scipy's, which let go of the interpreter's lock. The threads of BLAS are
held to one meanwhile: of matrices this small they mostly wait for each other, by spinning.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

THREADS = 2
Part = TypeVar("Part")
Result = TypeVar("Result")


def in_order(work: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
    """`work` of each part; no more parts than THREADS are in memory at once, beside the one that was given out."""
    waiting: deque[Future[Result]] = deque()
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(THREADS) as threads:
        for part in parts:
            waiting.append(threads.submit(work, part))
            if len(waiting) >= THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def ahead(parts: Iterable[Part]) -> Iterator[Part]:
    """The same parts, of which the next is made while the one before is worked on."""
    left = iter(parts)
    nothing = object()
    with ThreadPoolExecutor(1) as thread:
        later = thread.submit(next, left, nothing)
        while (part := later.result()) is not nothing:
            later = thread.submit(next, left, nothing)
            yield part  # type: ignore[misc]  # not the sentinel
