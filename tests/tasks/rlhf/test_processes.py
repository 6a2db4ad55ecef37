"""Two processes that share the rows end with the losses and weights of one."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

PROGRAM = Path(__file__).with_name("train_shared.py")
ROOT = Path(__file__).resolve().parents[3]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def launch(count: int, model: Path, out: Path) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}", "--master-addr=127.0.0.1"]
    command += [f"--master-port={free_port()}", str(PROGRAM), str(model), str(out)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("value", ["separate", "shared"])
def test_two_processes_equal_one(tiny_model_folder: Path, tmp_path: Path, value: str) -> None:
    found = []
    for count in (1, 2):
        done = launch(count, tiny_model_folder, tmp_path / f"{value}-{count}.safetensors")
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(load_file(tmp_path / f"{value}-{count}.safetensors"))
    assert [int(f.pop("processes")) for f in found] == [1, 2]
    assert found[0].keys() == found[1].keys()
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_job_with_its_error(tiny_model_folder: Path, tmp_path: Path) -> None:
    done = launch(2, tiny_model_folder, tmp_path / "dies-2.safetensors")
    assert done.returncode != 0
    assert "rank 1 was told to fail" in done.stderr
    assert not (tmp_path / "dies-2.safetensors").exists()
