"""What a TRL trainer needs to go on after a kill as if there had been none: its whole state as tensors and JSON values.

transformers' own checkpoints will not do: they are pickles, they leave out the sums behind the next line of the log, and
a resumed epoch draws the order of its rows anew.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from transformers import TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME

from tasks.rlhf.processes import Shared, from_first
from tasks.rlhf.sharding import gathered, placed

Tensors = dict[str, torch.Tensor]


class Saved(Protocol):
    """A training's state as it was kept."""

    @property
    def tensors(self) -> Tensors:
        """Weights, optimiser's moments and states of generators, by name."""

    @property
    def state(self) -> dict[str, Any]:
        """The rest, as JSON values."""


@dataclass(frozen=True)
class Resume:
    """`save(step, tensors, state)` keeps a state after every `steps` steps; `found` is the one to go on from."""

    steps: int
    save: Callable[[int, Mapping[str, torch.Tensor], Mapping[str, Any]], None]
    found: Saved | None


class SharedBatches:
    """Put before a transformers Trainer: under a launcher every process draws the same batches, and differentiates every
    `count`-th row of each; gradients and losses are those of one process (to rounding), whatever the batch's size.

    Sharding by accelerate would form other batches, repeat rows where they do not divide, and average means of unlike
    numbers of rows. Evaluations are not shared: each process does the whole.
    """

    accelerator: Any
    train_dataset: Any
    eval_dataset: Any
    data_collator: Any
    args: Any

    @property
    def shared(self) -> Shared:
        """Which rows are this process's own."""
        return Shared(self.accelerator.process_index, self.accelerator.num_processes)

    # What follows are transformers' own hooks.

    def get_train_dataloader(self) -> Any:
        """Batches of the whole training, the same in every process."""
        trainer: Any = super()
        if self.shared.count == 1:
            return trainer.get_train_dataloader()
        return self._loader(self.train_dataset, trainer._get_train_sampler(self.train_dataset))

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Batches of the whole evaluation, the same in every process."""
        trainer: Any = super()
        if self.shared.count == 1:
            return trainer.get_eval_dataloader(eval_dataset)
        return self._loader(eval_dataset or self.eval_dataset, trainer._get_eval_sampler(self.eval_dataset))

    def training_step(self, *inputs: Any, **options: Any) -> torch.Tensor:
        """The loss of the whole batch, also where only a part of it was this process's own."""
        trainer: Any = super()
        loss: torch.Tensor = trainer.training_step(*inputs, **options)
        return loss if self.shared.count == 1 else self.shared.total(loss) / self.shared.count

    def floating_point_ops(self, inputs: Any) -> float:
        """This process's part of them."""
        trainer: Any = super()
        operations: float = trainer.floating_point_ops(inputs)
        return operations if self.shared.count == 1 else operations / self.shared.count

    def _loader(self, dataset: Any, sampler: Any) -> Any:
        from torch.utils.data import DataLoader

        return DataLoader(
            dataset, batch_size=self.args.per_device_train_batch_size, sampler=sampler, collate_fn=self.data_collator
        )

    def _get_num_items_in_batch(self, batch_samples: Any, device: Any) -> Any:
        trainer: Any = super()
        items = trainer._get_num_items_in_batch(batch_samples, device)  # summed over processes, of which each has all
        return items if items is None or self.shared.count == 1 else items // self.shared.count


class Resumable(SharedBatches):
    """Put before a transformers Trainer: `go()` trains from the state that was found, or from the start."""

    model: Any
    optimizer: Any
    lr_scheduler: Any
    state: Any
    control: Any
    args: Any
    resume: Resume | None = None
    order: torch.Tensor  # state of torch's generator from which the order of this epoch's rows was drawn

    def go(self, resume: Resume | None) -> None:
        """Train; without `resume` nothing is kept."""
        self.resume = resume
        trainer: Any = self
        if resume is None:
            trainer.train()
            return
        trainer.add_callback(_Keep(self, resume))
        if resume.found is None:
            trainer.train()
            return
        file = Path(self.args.output_dir) / TRAINER_STATE_NAME
        file.write_text(json.dumps(resume.found.state["trainer"]), encoding="utf-8")
        trainer.train(resume_from_checkpoint=self.args.output_dir)

    def snapshot(self) -> tuple[Tensors, dict[str, Any]]:
        """(tensors, JSON values): all that a trainer made alike needs to go on, bit for bit, from here."""
        tensors, generators = random_states()
        tensors = {f"rng.{name}": state for name, state in tensors.items()} | {"rng.order": self.order}
        tensors |= {f"weights.{name}": gathered(p.data) for name, p in trainable(self.model).items()}
        optimizer = self.optimizer.state_dict()
        tensors |= {
            f"optimizer.{i}.{k}": gathered(v) for i, kept in optimizer["state"].items() for k, v in kept.items()
        }
        record = {
            "trainer": dataclasses.asdict(self.state),
            "generators": generators,
            "groups": optimizer["param_groups"],
            "schedule": self.lr_scheduler.state_dict(),
            "sums": self._sums(),
        }
        return tensors, record

    def agree(self) -> None:
        """Give every process the first one's generators: the order of rows is drawn from them, and dropout of rows that only
        one process has moves them apart."""
        if self.shared.count > 1:
            tensors, record = from_first(random_states)
            restore_random_states({f"rng.{name}": state for name, state in tensors.items()}, record)

    def take_over(self, found: Saved) -> None:
        """Take over what of a `snapshot()` belongs to no optimiser and no generator: sums behind the next log."""
        sums: dict[str, Any] = found.state["sums"]
        trainer: Any = self
        trainer._tr_loss.fill_(sums["loss"])
        trainer._total_loss_scalar, trainer._globalstep_last_logged = sums["total_loss"], sums["last_logged"]
        trainer._initial_global_step, trainer.current_flos = 0, sums["flos"]
        trainer._total_train_tokens = sums["tokens"]
        trainer._metrics["train"].update(sums["metrics"])

    def _sums(self) -> dict[str, Any]:
        trainer: Any = self
        return {
            "loss": trainer._tr_loss.item(),
            "total_loss": trainer._total_loss_scalar,
            "last_logged": trainer._globalstep_last_logged,
            "flos": trainer.current_flos,
            "tokens": trainer._total_train_tokens,
            "metrics": dict(trainer._metrics["train"]),
        }

    # What follows are transformers' own hooks.

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.resume and not self.control.should_training_stop:  # a training that ends here is not gone on with
            self.agree()  # one state of the generators is kept
            self.resume.save(self.state.global_step, *self.snapshot())

    def _load_from_checkpoint(self, checkpoint: str, model: Any = None) -> None:
        copy_weights(self.model, self._found().tensors, "weights.")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        found = self._found()
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        kept: dict[int, Tensors] = {}
        for name, tensor in found.tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                kept.setdefault(int(index), {})[key] = placed(tensor, parameters[int(index)])
        self.optimizer.load_state_dict({"state": kept, "param_groups": found.state["groups"]})
        self.lr_scheduler.load_state_dict(found.state["schedule"])

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            found = self._found()
            restore_random_states(found.tensors, found.state["generators"])

    def _found(self) -> Saved:
        assert self.resume and self.resume.found
        return self.resume.found


class _Keep(TrainerCallback):
    """Says when a state is kept, and remembers how an epoch began.

    At the end of an epoch transformers evaluates after the step is over; a state of before that would lose the
    evaluation.
    """

    def __init__(self, trainer: Resumable, resume: Resume) -> None:
        self.trainer, self.resume = trainer, resume
        self.going_on = resume.found
        self.kept_at = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.kept_at = state.global_step
        if self.going_on:
            self.trainer.take_over(self.going_on)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.going_on:  # transformers passes over the rows that are done, then sets the generators to their state
            between = float(state.epoch).is_integer()
            torch.set_rng_state(self.going_on.tensors["rng.torch" if between else "rng.order"])
            self.going_on = None
        self.trainer.agree()
        self.trainer.order = torch.get_rng_state()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not float(state.epoch).is_integer():
            self._ask(state, control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._ask(state, control)

    def _ask(self, state: Any, control: Any) -> None:
        if state.global_step - self.kept_at >= self.resume.steps:
            control.should_save = True
            self.kept_at = state.global_step


def trainable(model: Any) -> dict[str, torch.nn.Parameter]:
    """Parameters that a training changes, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def copy_weights(model: Any, tensors: Mapping[str, torch.Tensor], prefix: str = "") -> None:
    """Set the trainable parameters to the tensors `<prefix><name>`."""
    for name, parameter in trainable(model).items():
        parameter.data.copy_(placed(tensors[prefix + name], parameter))


def random_states() -> tuple[Tensors, dict[str, Any]]:
    """States of all generators that a training may draw from: (tensors, JSON values)."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    tensors = {"python": torch.tensor(words), "numpy": torch.from_numpy(np.asarray(keys, dtype=np.int64))}
    tensors["torch"] = torch.get_rng_state()
    if torch.accelerator.is_available():
        tensors[_device_type()] = torch.get_device_module().get_rng_state()
    return tensors, {"python": [version, gauss], "numpy": [name, int(position), int(has_gauss), float(cached)]}


def restore_random_states(tensors: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> None:
    """Set the generators to `random_states()`, whose tensors are named `rng.<name>`."""
    version, gauss = record["python"]
    random.setstate((version, tuple(tensors["rng.python"].tolist()), gauss))
    name, position, has_gauss, cached = record["numpy"]
    np.random.set_state((name, tensors["rng.numpy"].numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(tensors["rng.torch"])
    if (
        torch.accelerator.is_available() and f"rng.{_device_type()}" in tensors
    ):  # else it began on another kind of device
        torch.get_device_module().set_rng_state(tensors[f"rng.{_device_type()}"])


def _device_type() -> str:
    device = torch.accelerator.current_accelerator()
    assert device
    return device.type
