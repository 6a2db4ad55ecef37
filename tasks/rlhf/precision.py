"""In which precision a model computes: in bf16 under autocast, or in fp32."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

Bf16 = Literal[True, False, "auto"]
ROWS = 64  # see spare_rows
CPU_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")  # of x86-64, and of ARM


def in_bf16(asked: Bf16, device: torch.device) -> bool:
    """Whether a model on this device computes in bf16; `auto`: where a CPU or a CUDA device has instructions for it.

    A device without them works bf16 out in software: a matrix product of 512 by 1024 took 35 times as long as in fp32 on a
    CPU with AVX2 alone.
    """
    import torch

    if asked != "auto":
        return asked
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return any(able.get(instruction) for instruction in CPU_INSTRUCTIONS)
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return False


def autocast(asked: Bf16, device: torch.device) -> AbstractContextManager[Any]:
    """The context in which a model on this device computes as asked."""
    import torch

    return torch.autocast(device.type, torch.bfloat16, enabled=in_bf16(asked, device))


def spare_rows(rows: int, device: torch.device) -> int:
    """How many rows to add to `rows`, so that in bf16 on a CPU, where oneDNN makes a kernel for every new number of rows,
    few numbers come up. A few rows, as in a step of sampling, are not worth it."""
    import torch

    if device.type != "cpu" or rows < 4 * ROWS or not torch.is_autocast_enabled("cpu"):
        return 0
    return -rows % ROWS
