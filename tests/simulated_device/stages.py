"""Stages in a project folder, one after the other, on the device that accelerate's environment names.

usage: python -m tests.simulated_device.stages FOLDER

`made.json` in the folder: how many kernels of the simulated device each stage used (0 where torch has none).
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

from tests.conftest import run_stage_in

TRAINING = {"bf16": False, "batch": 8, "max_length": 64, "epochs": 1}
PPO = {"episodes": 16, "batch": 8, "minibatch": 5, "bf16": False, "max_prompt_tokens": 48, "max_new_tokens": 8}
DPO = {"bf16": False, "batch": 8, "max_length": 64, "watch_steps": 3}
LORA = {"enabled": True, "dropout": 0.0}
ENSEMBLE = {"members": 2, "rule": "mean_minus_variance", "variance_weight": 0.5}
STAGES: dict[str, tuple[str, str, dict[str, Any]]] = {  # what is made: method, stage, sections of params.yaml
    "sft": ("ppo", "sft", {"sft": TRAINING, "lora": LORA}),
    "reward": ("ppo", "reward", {"reward": TRAINING | {"length_debias": True, "ensemble": ENSEMBLE}}),
    "dpo": ("dpo", "ppo", {"ppo": PPO, "dpo": DPO, "lora": LORA}),
    "shared": ("ppo", "ppo", {"ppo": PPO | {"value": "shared", "bf16": True}, "lora": LORA}),
    "separate": ("ppo", "ppo", {"ppo": PPO | {"whiten_rewards": True}}),
    "evaluate": ("ppo", "evaluate", {"evaluate": {"best_of_n": 2, "max_new_tokens": 8, "bootstrap": 50}}),
}


def kernels() -> int:
    return int(torch.ops.simulated_device.kernels()) if torch.accelerator.is_available() else 0


def main() -> None:
    folder, used = Path(sys.argv[1]), {}
    for name, (method, stage, sections) in STAGES.items():
        before = kernels()
        settings = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8")) | {"method": method}
        (folder / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        run_stage_in(folder, stage, **sections)
        used[name] = kernels() - before
        if stage == "ppo":
            report = folder / "data/reports/ppo/history.jsonl"
            report.with_name(f"history-{name}.jsonl").write_bytes(report.read_bytes())
    (folder / "made.json").write_text(json.dumps(used), encoding="utf-8")


if __name__ == "__main__":
    main()
