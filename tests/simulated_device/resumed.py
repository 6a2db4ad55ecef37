"""A kill in trainings that draw random numbers on the device (dropout of adapters): they go on to the same weights.

usage: python -m tests.simulated_device.resumed MODEL_FOLDER STATE_FOLDER
"""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from tasks.checkpoints import Checkpoints
from tasks.rlhf.models import with_lora
from tasks.rlhf.resume import Resume
from tests.conftest import PAIRS
from tests.tasks.rlhf.test_ppo import PROMPTS, trainer
from tests.tasks.rlhf.test_resume import LORA, ROWS, SETTINGS, Stopped, train_one


def supervised(folder: Path) -> None:
    SETTINGS.bf16 = False
    with PAIRS.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(ROWS), strict=False)]
    weights, log = train_one("sft", folder, rows, True, None)
    assert all(w.device.type == torch.accelerator.current_accelerator().type for w in weights.values())
    checkpoints = Checkpoints("sft", {}, keep=1)

    def save(step: int, tensors: Any, state: Any) -> None:
        checkpoints.save(step, tensors, state)
        raise Stopped

    for keep in (save, checkpoints.save):
        kept = checkpoints.latest()
        torch.manual_seed(99)
        with contextlib.suppress(Stopped):
            after, told = train_one("sft", folder, rows, True, Resume(3, keep, kept))
    assert told == log
    assert all(torch.equal(after[name], value) for name, value in weights.items())


def by_ppo(folder: Path) -> None:
    def prepare(model: Any) -> Any:
        return with_lora(model, LORA, "SEQ_CLS" if hasattr(model, "score") else "CAUSAL_LM", 3)

    whole, first, second = (trainer(folder, prepare=prepare) for _ in range(3))
    list(whole.train(PROMPTS))
    next(first.train(PROMPTS))
    checkpoints = Checkpoints("ppo", {}, keep=1)
    tensors, record = first.state()
    checkpoints.save(1, tensors, record)
    found = checkpoints.latest()
    assert found
    torch.manual_seed(99)
    second.restore(found.tensors, found.state)
    list(second.train(PROMPTS))
    for (name, a), (_, b) in zip(whole._trainable(), second._trainable(), strict=True):
        assert torch.equal(a, b), name


if __name__ == "__main__":
    os.environ["ATTESTRL_HOME"] = sys.argv[2]
    supervised(Path(sys.argv[1]))
    by_ppo(Path(sys.argv[1]))
