"""The device that accelerate gives this process, and rows of one batch shared between processes. With one process sharing
does nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed

Made = TypeVar("Made")


def on_cpu() -> bool:
    """Whether models stay on the CPU: because accelerate's configuration says so, or there is nothing else."""
    from accelerate.utils import parse_flag_from_env

    return bool(parse_flag_from_env("ACCELERATE_USE_CPU")) or not torch.accelerator.is_available()


def accelerate_state() -> Any:
    """accelerate's `PartialState`: this process's `device`, as its configuration says, and which of how many processes it
    is. The first call meets the others, before a model is loaded onto a device."""
    from accelerate import PartialState

    return PartialState(cpu=on_cpu())


@dataclass(frozen=True)
class Shared:
    """Process `index` of `count`: it works on every `count`-th row."""

    index: int
    count: int

    @property
    def share(self) -> slice:
        """The rows of a batch that are this process's own."""
        return slice(self.index, None, self.count)

    def rows(self, batch: int) -> tuple[torch.Tensor, bool]:
        """(indices of the own rows of a batch, True); (the first row, False) where the batch has none for this process,
        which then takes part in the step with nothing."""
        own = torch.arange(batch)[self.share]
        return (own, True) if len(own) else (torch.zeros(1, dtype=torch.long), False)

    def whole(self, rows: torch.Tensor) -> torch.Tensor:
        """`rows` (B, …) with every process's own rows as that process has them."""
        if self.count == 1:
            return rows
        own = torch.zeros_like(rows, dtype=torch.float64 if rows.is_floating_point() else torch.long)
        own[self.share] = rows[self.share].to(own.dtype)
        return self.total(own).to(rows.dtype)

    def total(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum over the processes."""
        if self.count > 1:
            tensor = tensor.clone()
            distributed.all_reduce(tensor)
        return tensor


def from_first(make: Callable[[], Made]) -> Made:
    """What the first process makes, in every process; the others wait for it."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return make()
    box: list[Any] = [make() if distributed.get_rank() == 0 else None]
    distributed.broadcast_object_list(box)
    made: Made = box[0]
    return made
