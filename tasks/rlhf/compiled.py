"""What a large model does between its matrix products, fused by torch's compiler where there is a CUDA device.

Compiling takes some ten seconds, once a process, so that small models are left as they are.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from tasks.rlhf.packing import transformer
from tasks.rlhf.sharding import sharded

LEAST = 50_000_000  # parameters


def placed_for_work(model: Any, device: torch.device) -> Any:
    """The model on its device, without dropout, and its layers compiled where that pays."""
    model.to(device).eval()
    core = transformer(model)
    parameters = list(model.parameters())
    if not _able(device) or sum(p.numel() for p in parameters) < LEAST:
        return model
    if core is not model or any(map(sharded, parameters)):
        return model  # adapters are switched on and off, which would compile every layer anew; of parts nobody has tried it
    for layer in getattr(core.base_model, "layers", [])[:-1]:  # the last one's MLP is spared tokens, by hooks
        layer.compile(dynamic=True)
    return model


def as_written(model: Any) -> AbstractContextManager[Any]:
    """Compiled layers of the model, where it has any, work as they are written meanwhile: for all threads of the process."""
    stance: Callable[[str], AbstractContextManager[Any]] = torch.compiler.set_stance
    compiled = any(getattr(module, "_compiled_call_impl", None) is not None for module in transformer(model).modules())
    return stance("force_eager") if compiled else nullcontext()


class fused:
    """A function of tensors, compiled for a CUDA device when it is first called with a tensor there."""

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        self._written = self._fused = function

    def __call__(self, *tensors: torch.Tensor) -> torch.Tensor:
        """What the function gives."""
        if not tensors[0].is_cuda:
            return self._written(*tensors)
        if self._fused is self._written and _able(tensors[0].device):
            self._fused = torch.compile(self._written, dynamic=True)
        return self._fused(*tensors)


def _able(device: torch.device) -> bool:
    """Whether torch can compile for the device: Triton writes kernels, and a C compiler what starts them."""
    if device.type != "cuda":
        return False
    from torch.utils._triton import has_triton

    return has_triton() and any(map(shutil.which, ("cc", "gcc", "clang")))
