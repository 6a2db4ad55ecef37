"""Reward-model training: TRL's RewardTrainer with row weights and margins in the Bradley–Terry loss.

Early stopping: the loss on a dev part of the training side is measured every half epoch; training ends when it rises,
and the weights before the rise are kept.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from tasks.rlhf.losses import bradley_terry
from tasks.rlhf.models import pad_right
from tasks.rlhf.resume import Resumable, Resume, Saved, Tensors, copy_weights, trainable
from tasks.rlhf.sft_trainer import OnLog, TrainingSettings, logging_callback, trainer_arguments

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EVALUATIONS_PER_EPOCH = 2  # a small reward model is often best before its second epoch ends


class RewardSettings(TrainingSettings, Protocol):
    """`reward` of params.yaml."""

    label_smoothing: float


@dataclass(frozen=True)
class PairRow:
    """One tokenised pair: whole conversations, with the weight and margin of the row."""

    chosen_ids: list[int]
    rejected_ids: list[int]
    weight: float = 1.0
    margin: float = 0.0


def collator(pad_token_id: int) -> Any:
    """Batch of pairs: chosen rows first, then rejected; `weight` and `margin` (n,)."""

    def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        ids, mask = pad_right([r["chosen_ids"] for r in rows] + [r["rejected_ids"] for r in rows], pad_token_id)
        weight, margin = (torch.tensor([r[k] for r in rows], dtype=torch.float32) for k in ("weight", "margin"))
        return {"input_ids": ids, "attention_mask": mask, "weight": weight, "margin": margin}

    return collate


def dataset_of(rows: list[PairRow]) -> Any:
    """Rows as a dataset that TRL takes as tokenised already, with the length that batches are grouped by."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    return Dataset.from_list([vars(r) | {"length": max(len(r.chosen_ids), len(r.rejected_ids))} for r in rows])


def train_reward(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: list[PairRow],
    dev: list[PairRow],
    settings: RewardSettings,
    seed: int,
    on_log: OnLog,
    description: str,
    resume: Resume | None = None,
) -> dict[str, float]:
    """Train in place and leave the weights of the best dev loss in the model; gives that evaluation's figures. `on_log`
    also hears what was logged before the state that `resume` found."""
    from transformers import PrinterCallback, TrainerCallback
    from trl import RewardConfig, RewardTrainer

    best: dict[str, Any] = {"loss": float("inf")}

    class WeightedRewardTrainer(Resumable, RewardTrainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            shared, pairs = self.shared, len(inputs["weight"])
            sharing = model.training and shared.count > 1
            if sharing:
                rows, any_left = shared.rows(pairs)
                inputs = {k: v[torch.cat([rows, rows + pairs]) if len(v) > pairs else rows] for k, v in inputs.items()}
            outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
            chosen, rejected = outputs.logits.squeeze(-1).float().chunk(2)
            loss = bradley_terry(
                chosen,
                rejected,
                margin=inputs["margin"],
                weight=inputs["weight"],
                label_smoothing=settings.label_smoothing,
            )
            if sharing:
                loss = loss * (any_left * len(rows) * shared.count / pairs)  # DDP takes the mean over processes
                chosen, rejected = (shared.spread(side.detach(), rows, pairs) for side in (chosen, rejected))
            mode = "train" if model.training else "eval"
            difference = (chosen - rejected).detach()
            self._metrics[mode]["rewards/chosen"].append(chosen.mean().item())
            self._metrics[mode]["rewards/rejected"].append(rejected.mean().item())
            self._metrics[mode]["rewards/accuracies"].append((difference > 0).float().mean().item())
            self._metrics[mode]["rewards/margins"].append(difference.mean().item())
            return (loss, outputs) if return_outputs else loss

        def snapshot(self) -> tuple[Tensors, dict[str, Any]]:
            tensors, record = super().snapshot()
            if "weights" in best:  # measured already
                tensors |= {f"best.{name}": weights for name, weights in best["weights"].items()}
                record["best"] = {k: best[k] for k in ("loss", "metrics", "step")}
            return tensors, record

        def take_over(self, found: Saved) -> None:
            super().take_over(found)
            weights = {n.removeprefix("best."): t for n, t in found.tensors.items() if n.startswith("best.")}
            best.update(found.state.get("best", {}), weights=weights)

    class KeepBest(TrainerCallback):
        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:
            if metrics["eval_loss"] < best["loss"]:
                weights = {name: p.detach().cpu().clone() for name, p in trainable(model).items()}
                best.update(loss=metrics["eval_loss"], weights=weights, metrics=dict(metrics), step=state.global_step)
            else:
                control.should_training_stop = True

    steps = -(-len(train) // settings.batch)
    with tempfile.TemporaryDirectory() as folder:
        arguments = RewardConfig(
            **trainer_arguments(settings, folder, seed),
            eval_strategy="steps",
            eval_steps=-(-steps // EVALUATIONS_PER_EPOCH),
            remove_unused_columns=False,
        )
        trainer = WeightedRewardTrainer(
            model=model,
            args=arguments,
            data_collator=collator(tokenizer.pad_token_id),
            train_dataset=dataset_of(train),
            eval_dataset=dataset_of(dev),
            processing_class=tokenizer,
            callbacks=[logging_callback(on_log, description), KeepBest()],
        )
        trainer.remove_callback(PrinterCallback)  # it writes to standard output
        trainer.go(resume)
    copy_weights(model, best["weights"])
    figures = {k.removeprefix("eval_"): float(v) for k, v in best["metrics"].items() if isinstance(v, (int, float))}
    return figures | {"best_step": float(best["step"])}
