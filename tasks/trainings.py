"""How a stage's trainings begin, whatever they train: with adapters or every weight, whole or in parts, from a checkpoint or
anew."""

from __future__ import annotations

from typing import Any, Literal

from tasks.checkpoints import Checkpoints
from tasks.rlhf.models import with_lora
from tasks.rlhf.resume import Resume
from tasks.rlhf.sharding import shard
from tasks.stage import Stage


def as_trained(stage: Stage, model: Any, task: Literal["CAUSAL_LM", "SEQ_CLS", "TOKEN_CLS"], seed: int) -> Any:
    """The model as params.yaml has it trained: with adapters, which begin by `seed`, and in parts, whose gradients are averaged
    over the processes; `task`: see `with_lora`."""
    lora = stage.params.lora
    trained = with_lora(model, lora, task, seed) if lora.enabled else model
    if stage.params.sharding == "fsdp2":
        shard(trained, gradients="mean")
    return trained


def resume_of(stage: Stage, checkpoints: Checkpoints, training: str, save_steps: int) -> Resume:
    """Where the training goes on, which the record then says, and how it keeps its states from there."""
    found = checkpoints.latest()
    if found:
        stage.notes.setdefault("resumed_from_step", {})[training] = found.step
    return Resume(save_steps, checkpoints.save, found)
