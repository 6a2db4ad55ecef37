"""Supervised fine-tuning: TRL's SFTTrainer on tokenised conversations, loss on the answer's tokens only.

Loss: mean over the answer's tokens (its end token included) of −log p(x_t | x_<t).

Conversations come tokenised, as prompt and last answer with a completion mask, and not as messages with
`assistant_only_loss`: that needs {% generation %} marks, which few hub models' templates have, and TRL cuts a long
conversation at one end, where here the prompt loses its oldest turns and the answer stays whole.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import torch

from tasks.rlhf.packed_head import IGNORED, with_packed_head
from tasks.rlhf.precision import Bf16, in_bf16
from tasks.rlhf.processes import accelerate_state, on_cpu

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tasks.rlhf.resume import Resume

Encoded = list[tuple[list[int], list[int]]]
OnLog = Callable[[int, dict[str, float]], None]


class TrainingSettings(Protocol):
    """What SFT and reward training share in params.yaml."""

    epochs: int
    batch: int
    learning_rate: float
    max_length: int
    bf16: Bf16


def trainer_arguments(settings: TrainingSettings, folder: str, seed: int) -> dict[str, Any]:
    """Arguments that every TRL trainer here takes. The device is accelerate's to choose."""
    return {
        "output_dir": folder,
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": settings.batch,
        "per_device_eval_batch_size": settings.batch,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,  # of all steps
        "max_grad_norm": 1.0,
        "bf16": in_bf16(settings.bf16, accelerate_state().device),
        "use_cpu": on_cpu(),  # bf16 without an accelerator is refused unless this is said
        "seed": seed,
        "data_seed": seed,
        "max_length": settings.max_length,
        "train_sampling_strategy": "group_by_length",
        "activation_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 5,
        "logging_first_step": True,
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
    }


def curves_into(history: list[dict[str, float]]) -> OnLog:
    """An `on_log` that adds a row a step to `history`, without how long things took: that differs from run to run."""

    def on_log(step: int, values: dict[str, float]) -> None:
        history.append({"step": step, **{k: v for k, v in values.items() if "runtime" not in k and "second" not in k}})

    return on_log


def logging_callback(on_log: OnLog, description: str) -> Any:
    """Callback that shows a progress bar and hands every log to `on_log(step, values)`."""
    from tqdm import tqdm
    from transformers import TrainerCallback

    class Report(TrainerCallback):
        bar: Any = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            interval = 0.5 if sys.stderr.isatty() else 10.0
            self.bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc=description,
                unit="step",
                mininterval=interval,
                file=sys.stderr,
                disable=args.process_index > 0,
            )
            for row in state.log_history:  # of a training that goes on
                self._tell(row["step"], {k: v for k, v in row.items() if k != "step"})

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar.update()

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar.close()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            self._tell(state.global_step, logs or {})

        def _tell(self, step: int, logs: dict[str, Any]) -> None:
            on_log(step, {k: float(v) for k, v in logs.items() if isinstance(v, (int, float))})

    return Report()


def dataset_of(pairs: Encoded) -> Any:
    """Tokenised dataset: input_ids, a mask of the answer's tokens, and the length that batches are grouped by."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    return Dataset.from_dict(
        {
            "input_ids": [prompt + answer for prompt, answer in pairs],
            "completion_mask": [[0] * len(prompt) + [1] * len(answer) for prompt, answer in pairs],
            "length": [len(prompt) + len(answer) for prompt, answer in pairs],
        }
    )


def train_sft(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Encoded,
    dev: Encoded,
    settings: TrainingSettings,
    seed: int,
    on_log: OnLog,
    resume: Resume | None = None,
) -> dict[str, float]:
    """Train in place; gives loss and token accuracy on `dev`, measured after the last epoch. `on_log` also hears what
    was logged before the state that `resume` found."""
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    from tasks.rlhf.resume import Resumable

    class ResumableSftTrainer(Resumable, SFTTrainer):
        def compute_loss(self, model: Any, inputs: Any, *more: Any, **options: Any) -> Any:
            if model.training and self.shared.count > 1:
                rows, any_left = self.shared.rows(len(inputs["labels"]))
                inputs = {k: v[rows] if torch.is_tensor(v) else v for k, v in inputs.items()}
                if not any_left:
                    inputs["labels"] = torch.full_like(inputs["labels"], IGNORED)
            return super().compute_loss(with_packed_head(self, model, settings.bf16), inputs, *more, **options)

    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            **trainer_arguments(settings, folder, seed), completion_only_loss=True, eval_strategy="epoch", packing=False
        )
        trainer = ResumableSftTrainer(
            model=model,
            args=arguments,
            train_dataset=dataset_of(train),
            eval_dataset=dataset_of(dev),
            processing_class=tokenizer,
            callbacks=[logging_callback(on_log, "sft")],
        )
        trainer.remove_callback(PrinterCallback)  # it writes to standard output
        trainer.go(resume)
    final = next(row for row in reversed(trainer.state.log_history) if "eval_loss" in row)
    return {k.removeprefix("eval_"): float(v) for k, v in final.items() if isinstance(v, (int, float))}
