"""The stages on a SIMULATED accelerator (device.cpp), which only accelerate's environment names: where every tensor is, as a
GPU would see it. What it cannot show is a GPU's speed and a GPU's numbers."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from safetensors.torch import load_file

from tests.simulated_device.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("simulated device")]
MIXTURES = """
import torch
a, device = torch.ones(2, 3, device="simulated"), "simulated"
refused = [
    lambda: a + torch.ones(2, 3),
    lambda: a @ torch.ones(3, 2),
    lambda: torch.ones(2, 3).add_(a),
    lambda: torch.stack([a[0], torch.ones(3)]),
    lambda: torch.ones(3)[torch.tensor([0, 1], device=device)],
    lambda: torch.rand(3, device=device, generator=torch.Generator()),
    lambda: a.numpy(),
    lambda: torch.zeros(2, 3).masked_scatter(a.cpu() > 0, a),
]
for mixture in refused:
    try:
        mixture()
    except (RuntimeError, TypeError):
        continue
    raise SystemExit(f"{refused.index(mixture)} was not refused")
torch.manual_seed(1)
first, cpu = torch.rand(2, device=device), torch.get_rng_state()
torch.nn.functional.dropout(a)
assert torch.equal(cpu, torch.get_rng_state())  # the device has a generator of its own
torch.manual_seed(1)
assert torch.equal(first, torch.rand(2, device=device))
"""


def start(device: Path | None, *arguments: str) -> Any:
    """A Python process, on the simulated device or the CPU."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ATTESTRL_", "MLFLOW_", "ACCELERATE_"))}
    environment = kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if device:
        environment |= {"PYTHONPATH": f"{device}{os.pathsep}{ROOT}", "ACCELERATE_TORCH_DEVICE": "simulated"}
    command = [sys.executable, "-W", "ignore", *arguments]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def finish(process: Any) -> None:
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said[-4000:]


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_mixture_of_devices_is_refused(simulated_device: Path) -> None:
    finish(start(simulated_device, "-c", MIXTURES))


def test_a_training_goes_on_with_the_devices_random_numbers(
    simulated_device: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    finish(start(simulated_device, "-m", "tests.simulated_device.resumed", str(tiny_model_folder), str(tmp_path)))


def test_stages_give_what_they_give_on_the_cpu(
    simulated_device: Path, trained_project: Path, hh_rows: list[Any], tmp_path: Path
) -> None:
    folders = [shutil.copytree(trained_project, tmp_path / name) for name in ("cpu", "simulated")]
    for folder in folders:
        prompts = pl.DataFrame({"prompt": [r["prompt"] for r in hh_rows[:10]]})
        prompts.write_parquet(folder / "data/processed/ppo_prompts.parquet")
        held_out = pl.DataFrame(hh_rows[:10]).select("id", "prompt", "source")
        held_out.write_parquet(folder / "data/processed/eval_prompts.parquet")
    started = [
        start(device, "-m", "tests.simulated_device.stages", str(folder))
        for device, folder in zip((None, simulated_device), folders, strict=True)
    ]
    for process in started:
        finish(process)
    cpu, simulated = folders
    assert not any(json.loads((cpu / "made.json").read_text()).values())
    assert all(n > 1000 for n in json.loads((simulated / "made.json").read_text()).values())
    for file in (cpu / "data/models").rglob("*.safetensors"):
        one, other = load_file(file), load_file(simulated / file.relative_to(cpu))
        assert one.keys() == other.keys()
        assert max(float((one[k] - other[k]).abs().max()) for k in one) < 1e-5, file
    for name in ("sft/history", "reward/history-reward", "reward/history-judge", "ppo/history-dpo", "ppo/history"):
        file = f"data/reports/{name}.jsonl"
        for a, b in zip(rows(cpu / file), rows(simulated / file), strict=True):
            assert b == pytest.approx(a, rel=1e-4, abs=1e-5), name
    figures = (json.loads((f / "data/reports/evaluate/metrics.json").read_text())["metrics"] for f in folders)
    for a, b in zip(*figures, strict=True):
        assert b["value"] == pytest.approx(a["value"], rel=1e-4, abs=1e-5), a["name"]
    mixed = rows(simulated / "data/reports/ppo/history-shared.jsonl")  # bf16, which rounds as it adds up
    assert len(mixed) == 2 and all(math.isfinite(v) for row in mixed for v in row.values())
