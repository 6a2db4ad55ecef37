"""Early stopping: training ends at the first evaluation whose loss is not lower, with the weights of the one before."""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback

from tasks.rlhf.resume import Resumable, Saved, Tensors, copy_weights, trainable
from tasks.rlhf.sharding import gathered, kept


class EarlyStopped(Resumable):
    """Put before a transformers Trainer, which must get a `KeepBest` of its own as a callback: what is best so far is a part
    of what a training needs to go on."""

    best: KeepBest

    def snapshot(self) -> tuple[Tensors, dict[str, Any]]:
        """As of `Resumable`."""
        tensors, record = super().snapshot()
        if self.best.weights:  # measured already
            tensors |= {f"best.{name}": gathered(weights) for name, weights in self.best.weights.items()}
            record["best"] = {"loss": self.best.loss, "metrics": self.best.metrics, "step": self.best.step}
        return tensors, record

    def take_over(self, found: Saved) -> None:
        """As of `Resumable`."""
        super().take_over(found)
        self.best.weights = {n.removeprefix("best."): t for n, t in found.tensors.items() if n.startswith("best.")}
        for name, value in found.state.get("best", {}).items():
            setattr(self.best, name, value)


class KeepBest(TrainerCallback):
    """The best evaluation so far: its `loss`, `step`, `metrics`, and the trainable `weights`."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.loss = float("inf")
        self.step = 0
        self.metrics: dict[str, Any] = {}
        self.weights: dict[str, torch.Tensor] = {}

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:
        """transformers' hook."""
        if metrics["eval_loss"] < self.loss:
            self.weights = {name: kept(p) for name, p in trainable(self.model).items()}
            self.loss, self.metrics, self.step = metrics["eval_loss"], dict(metrics), state.global_step
        else:
            control.should_training_stop = True

    def restore(self) -> dict[str, float]:
        """Put the best weights into the model; gives that evaluation's figures, without `eval_` before their names, and
        `best_step`."""
        copy_weights(self.model, self.weights)
        figures = {k.removeprefix("eval_"): float(v) for k, v in self.metrics.items() if isinstance(v, (int, float))}
        return figures | {"best_step": float(self.step)}
