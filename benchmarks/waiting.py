"""What it costs that threads which wait for one another spin, or sleep, with the machine's cores free and with all of them
busy elsewhere: seconds per training step of the shipped model on all cores, medians over alternating rounds.

    python -m benchmarks.waiting [--rounds N]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.machine import described

POLICIES = {"default": None, "passive": "PASSIVE"}
STEPS = 4
MODEL = Path(__file__).resolve().parents[1] / "data/raw/attestrl-small"


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.steps:
        print(seconds_per_step())
        return
    found: dict[str, dict[str, list[float]]] = {}
    for _ in range(arguments.rounds):
        for place, busy in (("free", 0), ("busy", os.cpu_count() or 1)):
            for policy, value in POLICIES.items():
                found.setdefault(place, {}).setdefault(policy, []).append(measured(value, busy))
    seconds = {place: {p: round(statistics.median(v), 3) for p, v in each.items()} for place, each in found.items()}
    ratio = {place: round(each["default"] / each["passive"], 2) for place, each in seconds.items()}
    every = {"seconds_per_step": seconds, "default_over_passive": ratio, "rounds": found} | described()
    print(json.dumps({"benchmark": "waiting", **every}))


def measured(policy: str | None, busy: int) -> float:
    """Seconds per step in a process of its own, beside `busy` processes that never rest."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        usual = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
        environment = usual | {"OMP_NUM_THREADS": str(os.cpu_count() or 1)}
        environment |= {"OMP_WAIT_POLICY": policy} if policy else {}
        command = [sys.executable, "-m", "benchmarks.waiting", "--steps"]
        return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def seconds_per_step() -> float:
    """Forward, backward and AdamW on 16 rows of 160 tokens, in bf16 where the processor has it, after a first step that does not count."""
    import time

    import torch
    from transformers import AutoModelForCausalLM

    from tasks.rlhf.precision import autocast

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5)
    rows = torch.randint(5, 4000, (16, 160))
    for step in range(STEPS + 1):
        if step == 1:
            started = time.monotonic()
        with autocast("auto", rows.device):
            loss = model(input_ids=rows, labels=rows).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return (time.monotonic() - started) / STEPS


if __name__ == "__main__":
    main()
