"""bf16 where it is asked for, or where the processor can."""

from pathlib import Path

import pytest
import torch

from tasks.rlhf.precision import autocast, in_bf16

CPU = torch.device("cpu")


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="the kernel says here what the processor can")
def test_auto_is_what_the_processor_can() -> None:
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    assert in_bf16("auto", CPU) == any(flag in flags for flag in ("avx512_bf16", "amx_bf16", "bf16", "svebf16"))


def test_what_is_asked_for_is_kept() -> None:
    assert in_bf16(True, CPU)
    assert not in_bf16(False, CPU)


def test_a_product_is_of_the_precision() -> None:
    factor = torch.ones(2, 2)
    for asked, kind in ((True, torch.bfloat16), (False, torch.float32)):
        with autocast(asked, CPU):
            assert (factor @ factor).dtype == kind
