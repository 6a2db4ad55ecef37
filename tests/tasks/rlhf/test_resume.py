"""Trainings by TRL go on from a kept state as if nobody had stopped them: same weights, same log."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tasks.checkpoints import Checkpoints
from tasks.rlhf.encoding import encode_pairs, stop_token_id
from tasks.rlhf.models import load_causal_lm, load_tokenizer, new_reward_model, with_lora
from tasks.rlhf.process_reward import Encoded, new_process_model, process_targets
from tasks.rlhf.process_trainer import train_on_steps
from tasks.rlhf.resume import Resume, random_states, restore_random_states
from tasks.rlhf.reward_trainer import RankedRow, train_reward
from tasks.rlhf.sft_trainer import train_sft

SETTINGS = SimpleNamespace(
    loss="bradley_terry", label_smoothing=0.0, epochs=2, batch=4, learning_rate=5e-3, max_length=64, bf16=True
)
LORA = SimpleNamespace(rank=4, alpha=8, dropout=0.2)
DEV, ROWS = 8, 36  # 7 steps an epoch
Logged = list[dict[str, Any]]


class Stopped(Exception):
    """Stands for a kill."""


def train_one(kind: str, folder: Path, rows: list[Any], lora: bool, resume: Resume | None) -> tuple[Any, Logged]:
    """(weights, log) of one training."""
    tokenizer, log = load_tokenizer(folder), []

    def on_log(step: int, values: dict[str, float]) -> None:
        log.append({"step": step} | {k: v for k, v in values.items() if "runtime" not in k and "second" not in k})

    stop = stop_token_id(tokenizer)
    chosen, rejected = (
        encode_pairs(tokenizer, [r["prompt"] for r in rows], [r[s] for r in rows], stop, 64)
        for s in ("chosen", "rejected")
    )
    if kind == "sft":
        model = load_causal_lm(folder)
        model = with_lora(model, LORA, "CAUSAL_LM", 7) if lora else model
        final = train_sft(model, tokenizer, chosen[DEV:], chosen[:DEV], SETTINGS, 7, on_log, resume)
    elif kind == "process":
        rows = [Encoded(p + a, len(p), [len(p), len(p + a) - 1]) for p, a in chosen]
        steps = [(row.ids, process_targets(row, [True, n % 2 == 0], "step")) for n, row in enumerate(rows)]
        model = new_process_model(folder, tokenizer.pad_token_id, 7)
        final = train_on_steps(model, 0, steps[DEV:], steps[DEV : 2 * DEV], SETTINGS, 7, on_log, "process", resume)
    else:
        pairs = [RankedRow.pair(c[0] + c[1], r[0] + r[1]) for c, r in zip(chosen, rejected, strict=True)]
        model = new_reward_model(folder, tokenizer.pad_token_id, 7)
        model = with_lora(model, LORA, "SEQ_CLS", 7) if lora else model
        # Dev pairs are training pairs, so that the dev loss falls and the training does not end early.
        final = train_reward(model, tokenizer, pairs[DEV:], pairs[DEV : 2 * DEV], SETTINGS, 7, on_log, "reward", resume)
    final = {k: v for k, v in final.items() if "runtime" not in k and "second" not in k}
    return {name: value.clone() for name, value in model.state_dict().items()}, [*log, final]


@pytest.mark.parametrize(("kind", "lora"), [("sft", True), ("reward", False), ("process", False)])
def test_goes_on_to_the_same_weights_and_the_same_log(
    kind: str, lora: bool, tiny_model_folder: Path, hh_rows: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the first epoch, at its end and in the second, each time after a few steps more than were kept."""
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path))
    for trainer in ("reward_trainer", "process_trainer"):
        monkeypatch.setattr(f"tasks.rlhf.{trainer}.EVALUATIONS_PER_EPOCH", 3)
    rows = hh_rows[:ROWS]
    weights, log = train_one(kind, tiny_model_folder, rows, lora, None)
    checkpoints = Checkpoints(kind, {}, keep=2)

    for stop_after in (3, 7, 10, None):

        def save(step: int, tensors: Any, state: Any, last: int | None = stop_after) -> None:
            if last is not None and step > last:
                raise Stopped
            checkpoints.save(step, tensors, state)

        found = checkpoints.latest()
        torch.manual_seed(99)
        try:
            after, told = train_one(kind, tiny_model_folder, rows, lora, Resume(1, save, found))
        except Stopped:
            assert max(int(p.name.split("-")[1]) for p in checkpoints.folder.iterdir()) == stop_after
    assert told == log
    assert all(torch.equal(after[name], value) for name, value in weights.items())


def test_generators_come_back() -> None:
    import random

    import numpy as np

    def draw() -> list[float]:
        return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(()).item()]

    draw()
    tensors, record = random_states()
    first = draw()
    draw()
    restore_random_states({f"rng.{name}": state for name, state in tensors.items()}, record)
    assert draw() == first
