"""The SIMULATED accelerator of device.cpp as torch's device `simulated`. torch calls `load` by itself where this folder is
installed: it is an entry point of the group `torch.backends`."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch


def load() -> None:
    torch.ops.load_library(Path(__file__).with_name("simulated_kernels.so"))
    torch.utils.rename_privateuse1_backend("simulated")
    torch._register_device_module("simulated", sys.modules[__name__])
    torch.utils.generate_methods_for_privateuse1_backend()
    torch.__future__.set_swap_module_params_on_conversion(True)  # else `.to` would untie tied weights, as CUDA does not


# What follows are torch's names for what a device's module has.


def is_available() -> bool:
    return True


def device_count() -> int:
    return 1


def current_device() -> int:
    return 0


def set_device(device: Any) -> None:
    pass


def device(index: Any) -> Any:
    return nullcontext()


def synchronize(device: Any = None) -> None:
    pass


def empty_cache() -> None:
    pass


def get_amp_supported_dtype() -> list[torch.dtype]:
    return [torch.bfloat16]


def _is_in_bad_fork() -> bool:
    return False


def manual_seed_all(seed: int) -> None:
    torch.ops.simulated_device.seed(seed % 2**63)


def get_rng_state(device: Any = 0) -> torch.Tensor:
    state: torch.Tensor = torch.ops.simulated_device.state()
    return state


def set_rng_state(state: torch.Tensor, device: Any = 0) -> None:
    torch.ops.simulated_device.set_state(state)
