"""Independent groups of rows on all cores of a CPU at once, each group by one thread.

Where all threads share one group, they wait for each other after every small operation, and much of a forward pass is not
a product of matrices: two cores were busy for three quarters of the time. A group that one thread works out alone
also has the same bits whatever the number of cores.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

import torch

Group = TypeVar("Group")
Found = TypeVar("Found")


def on_every_core(model: Any, groups: Sequence[Group], work: Callable[[Any, Group], Found]) -> Iterator[Found]:
    """`work(model, group)` of each group, in order, without gradients. One after another on an accelerator, and in a job of
    several processes, which share the cores already."""
    every = torch.get_num_threads()
    threads = min(every, len(groups))
    if threads < 2 or model.device.type != "cpu" or torch.distributed.is_initialized():
        for group in groups:
            with torch.no_grad():  # not around the loop: the caller's work between two groups has gradients as before
                found = work(model, group)
            yield found
        return
    dtype, lower = torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cpu")
    free: SimpleQueue[Any] = SimpleQueue()
    for number in range(threads):
        free.put(_twin(model) if number else model)

    def alone(group: Group) -> Found:
        own = free.get()
        try:
            with torch.no_grad(), torch.autocast("cpu", dtype, enabled=lower):  # both are a thread's own
                return work(own, group)
        finally:
            free.put(own)

    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(threads)
    try:
        yield from pool.map(alone, groups)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(every)


def _twin(model: Any) -> Any:
    """The model again, with the same weights in memory: a forward pass changes its configuration and its hooks while it
    lasts."""
    return copy.deepcopy(model, {id(p): p for p in model.parameters()})
