"""Two processes that share the rows, and the weights, end with the losses and weights of one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.tasks.rlhf.test_ppo import PROMPTS
from tests.tasks.rlhf.train_shared import by_adam, results

PROGRAM = Path(__file__).with_name("train_shared.py")
WITH_DROPOUT = Path(__file__).with_name("train_with_dropout.py")
ROOT = Path(__file__).resolve().parents[3]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def launch(count: int, model: Path, out: Path, program: Path = PROGRAM) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}", "--master-addr=127.0.0.1"]
    command += [f"--master-port={free_port()}", str(program), str(model), str(out)]
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
    assert_close(found[1], found[0])
    check_sharded(tiny_model_folder, tmp_path / f"{value}-2.safetensors", value)


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-5, msg=name)


def check_sharded(model: Path, out: Path, value: str) -> None:
    """Sharded models, by Adam: each process holds half; the end is that of one process, also from what was kept on the way,
    by the two or by one."""
    whole = by_adam(model, value, sharded=False)
    expected = results(whole, list(whole.train(PROMPTS)))
    found = load_file(f"{out}-sharded")
    assert int(found.pop("held")) == sum(p.numel() for p in whole.policy.parameters()) / 2
    assert_close(found, expected)
    alone = by_adam(model, value, sharded=False)
    kept = load_file(f"{out}-kept")
    alone.restore(kept, json.loads(Path(f"{out}-record").read_text(encoding="utf-8")))
    ends = [load_file(f"{out}-again"), results(alone, list(alone.train(PROMPTS)))]
    last = {k: v for k, v in expected.items() if not k.startswith("metric.")}
    last |= {f"{k[:-1]}0": v for k, v in expected.items() if k.startswith("metric.") and k.endswith(".1")}
    for end in ends:
        assert_close(end, last)
    assert any(not torch.equal(kept[f"weights.{k}"], v) for k, v in last.items() if not k.startswith("metric."))


@pytest.mark.slow
def test_a_process_that_dies_ends_the_job_with_its_error(tiny_model_folder: Path, tmp_path: Path) -> None:
    done = launch(2, tiny_model_folder, tmp_path / "dies-2.safetensors")
    assert done.returncode != 0
    assert "rank 1 was told to fail" in done.stderr
    assert not (tmp_path / "dies-2.safetensors").exists()


@pytest.mark.slow
def test_dropout_moves_no_process_to_other_rows(tiny_model_folder: Path, tmp_path: Path) -> None:
    """Of five rows one process has three, and draws more for their dropout: the order of the next rows is one all the same,
    and so are the generators that a checkpoint keeps for both."""
    done = launch(2, tiny_model_folder, tmp_path / "kept", WITH_DROPOUT)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"kept-{rank}").read_text(encoding="utf-8")) for rank in range(2))
    assert len(first) == 5 and first == second
    assert len({order for _, order, _ in first}) == 2  # of two epochs
    assert len({now for _, _, now in first}) == 5  # dropout did draw
