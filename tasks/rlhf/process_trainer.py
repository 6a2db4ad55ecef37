"""Training of process and outcome reward models (`tasks.rlhf.process_reward`) by transformers' Trainer: TRL has none for them
any more. Early stopping on a dev part, as of the reward model."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.nn.functional import cross_entropy

from tasks.rlhf.keep_best import EarlyStopped, KeepBest
from tasks.rlhf.models import pad_right
from tasks.rlhf.packed_head import IGNORED
from tasks.rlhf.resume import Resume
from tasks.rlhf.sft_trainer import OnLog, TrainingSettings, logging_callback, trainer_arguments

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EVALUATIONS_PER_EPOCH = 2
Labelled = tuple[list[int], list[int]]  # token ids, and the label of each, IGNORED where none is read


def label_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum of −log softmax(logits)_label over the tokens that are read, a scalar. `logits` (B, T, 2), `labels` (B, T)."""
    return cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")


def collator(pad_token_id: int) -> Any:
    """Batch of rows, padded on the right."""

    def collate(rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        ids, mask = pad_right([r["ids"] for r in rows], pad_token_id)
        labels, _ = pad_right([r["labels"] for r in rows], IGNORED)
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    return collate


def train_on_steps(
    model: PreTrainedModel,
    pad_token_id: int,
    train: Sequence[Labelled],
    dev: Sequence[Labelled],
    settings: TrainingSettings,
    seed: int,
    on_log: OnLog,
    description: str,
    resume: Resume | None = None,
) -> dict[str, float]:
    """Train in place and leave the weights of the best dev loss in the model; gives that evaluation's figures. `on_log`
    also hears what was logged before the state that `resume` found."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    class StepTrainer(EarlyStopped, Trainer):
        best = KeepBest(model)
        # what TRL's trainers sum up beside the loss, and a state that is kept holds
        _metrics: ClassVar[dict[str, dict[str, Any]]] = {"train": {}, "eval": {}}
        _total_train_tokens = 0

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            ids, mask, labels = (inputs[k] for k in ("input_ids", "attention_mask", "labels"))
            read, scale = (labels != IGNORED).sum(), 1
            if model.training and self.shared.count > 1:
                rows, any_left = self.shared.rows(len(labels))
                ids, mask, labels = ids[rows], mask[rows], labels[rows]
                scale = self.shared.count * any_left  # DDP takes the mean over processes
            outputs = model(input_ids=ids, attention_mask=mask, use_cache=False)
            loss = scale * label_loss(outputs.logits, labels) / read
            return (loss, outputs) if return_outputs else loss

    steps = -(-len(train) // settings.batch)
    with tempfile.TemporaryDirectory() as folder:
        arguments = {k: v for k, v in trainer_arguments(settings, folder, seed).items() if k != "max_length"}
        trainer = StepTrainer(
            model=model,
            args=TrainingArguments(
                **arguments,
                eval_strategy="steps",
                eval_steps=-(-steps // EVALUATIONS_PER_EPOCH),
                prediction_loss_only=True,
                remove_unused_columns=False,
            ),
            data_collator=collator(pad_token_id),
            train_dataset=_dataset_of(train),
            eval_dataset=_dataset_of(dev),
            callbacks=[logging_callback(on_log, description), StepTrainer.best],
        )
        trainer.remove_callback(PrinterCallback)  # it writes to standard output
        trainer.go(resume)
    return trainer.best.restore()


def _dataset_of(rows: Sequence[Labelled]) -> Any:
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    return Dataset.from_list([{"ids": ids, "labels": labels, "length": len(ids)} for ids, labels in rows])
