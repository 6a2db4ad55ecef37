"""Weights, gradients and moments divided between the processes of a training: torch's FSDP2 (`fully_shard`).

Each process keeps one part of every parameter. A layer's weights are gathered when it works, forward and backward, and
let go after it, so every process must make as many passes as the others. Of a model that is not sharded all of it does
nothing, so that a trainer reads the same for both.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from tasks.rlhf.packing import transformer

Found = TypeVar("Found")
_EMPTY: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()  # sharded model → what `plain` fills with its weights


def shard(model: Any, gradients: Literal["sum", "mean"]) -> Any:
    """Divide a model, adapters included, between the processes, in place; `gradients`: what becomes of theirs."""
    core = transformer(model)
    nothing = {
        id(p): torch.nn.Parameter(p.data.new_empty(0), requires_grad=p.requires_grad) for p in model.parameters()
    }
    _EMPTY[model] = copy.deepcopy(model, {**nothing, id(core.config): core.config})
    mesh = init_device_mesh(core.device.type, (distributed.get_world_size(),))
    layers = [m for m in core.modules() if type(m).__name__ in core._no_split_modules]
    for part in (*layers, core):
        fully_shard(part, mesh=mesh, reshard_after_forward=True)
        if gradients == "sum":
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)  # gloo knows no other
    core.within = MethodType(lambda _, work: work(), core)
    register_fsdp_forward_method(core, "within")
    core.within(lambda: ())  # torch takes the first part that works for the root of the others
    core._is_distributed_loading_by_transformers = True  # so that its Trainer leaves placing and averaging to us
    return model


def within(model: Any, work: Callable[[], Found]) -> Found:
    """What `work` gives, a tensor or several. It may read any weight of the model, as if in its forward pass."""
    core = transformer(model)
    found: Found = core.within(work) if hasattr(core, "within") else work()
    return found


@contextmanager
def whole(model: Any) -> Iterator[None]:
    """Keep all weights in every process meanwhile: for passes that processes make as each needs them. No gradients."""
    parts = [m for m in model.modules() if isinstance(m, FSDPModule)]
    for part in parts:
        part.unshard()
        part.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()


def sharded(tensor: torch.Tensor) -> bool:
    """Whether other processes have parts of it."""
    return isinstance(tensor, DTensor)


def gathered(tensor: torch.Tensor) -> torch.Tensor:
    """The whole of a tensor, on the CPU, in the first process; nothing of it in the others, which must take part."""
    if not isinstance(tensor, DTensor):
        return tensor
    full = tensor.full_tensor()
    return full.cpu() if distributed.get_rank() == 0 else full[:0].clone()


def kept(tensor: torch.Tensor) -> torch.Tensor:
    """A copy, on the CPU if it is whole."""
    return tensor.detach().clone() if sharded(tensor) else tensor.detach().cpu().clone()


def placed(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A tensor on the device of `like`, and, where it has the same shape, in such parts as `like` is."""
    tensor = tensor.to(like.device)
    if not isinstance(like, DTensor) or isinstance(tensor, DTensor) or tensor.shape != like.shape:
        return tensor
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)


def plain(model: Any) -> Any:
    """The model as it was before `shard`, with the weights of now, in the first process; without any in the others."""
    if model not in _EMPTY:
        return model
    empty = _EMPTY.pop(model)
    for (_, part), parameter in zip(model.named_parameters(), empty.parameters(), strict=True):
        parameter.data = gathered(part).to(part.device)
    return empty


def alike(parameters: Iterable[torch.nn.Parameter]) -> list[list[torch.nn.Parameter]]:
    """Parameters in groups that one kernel takes together: those that are sharded, and the others."""
    found = list(parameters)
    return [g for g in ([p for p in found if sharded(p) == kind] for kind in (True, False)) if g]


def clip_gradients(parameters: Sequence[torch.nn.Parameter], limit: float) -> torch.Tensor:
    """Scale gradients down to a norm of `limit`, over all parameters together; gives the norm before, a scalar."""
    groups = alike(p for p in parameters if p.grad is not None)
    norms = [get_total_norm([p.grad for p in g if p.grad is not None]) for g in groups]
    norms = [n.full_tensor() if isinstance(n, DTensor) else n for n in norms]
    norm = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    for group in groups:
        clip_grads_with_norm_(group, limit, norm)
    return norm
