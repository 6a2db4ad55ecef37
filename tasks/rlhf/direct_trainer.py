"""Policies straight from preference pairs, without a reward in the loop: TRL's DPOTrainer and KTOTrainer.

With h = log π(y|x) − log π_ref(y|x), summed over the answer's tokens (its end token included), h⁺ of the chosen and h⁻ of
the rejected answer, a loss is a function of β, h⁺ and h⁻ (tasks/methods: dpo, ipo, kto).

The reference is the model as it came: given, or the policy without its adapters. A row's weight scales its gradient;
TRL's losses, and what is logged of them, are plain means.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from tasks.rlhf.packed_head import with_packed_head
from tasks.rlhf.ppo import Diverged
from tasks.rlhf.resume import Resumable, Resume, Saved, Tensors
from tasks.rlhf.sft_trainer import OnLog, TrainingSettings, logging_callback, trainer_arguments

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Watch = Callable[[int], dict[str, float]]  # what is seen of the policy after so many steps


class DirectSettings(TrainingSettings, Protocol):
    """The section of params.yaml of a method that learns from pairs."""

    beta: float
    watch_steps: int
    kl_budget: float | None


@dataclass(frozen=True)
class Pair:
    """One tokenised pair: a prompt, two answers to it that each end with the end token, and the row's weight."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    weight: float = 1.0


@dataclass(frozen=True)
class Kind:
    """One of TRL's trainers, the classes of its arguments and of its collator, `options` over the usual arguments, and the
    `rows` of its tokenised dataset, from pairs, the batch and the seed."""

    trainer: Any
    arguments: Any
    collator: Any
    options: dict[str, Any]
    rows: Callable[[list[Pair], int, int], list[dict[str, Any]]]


def pairwise(loss: str) -> Kind:
    """TRL's DPOTrainer by one of its losses of pairs."""
    from trl import DPOConfig, DPOTrainer
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    return Kind(DPOTrainer, DPOConfig, DataCollatorForPreference, {"loss_type": [loss]}, _pairs)


def _pairs(pairs: list[Pair], batch: int, seed: int) -> list[dict[str, Any]]:
    longest = [len(p.prompt_ids) + max(len(p.chosen_ids), len(p.rejected_ids)) for p in pairs]
    return [vars(p) | {"length": n} for p, n in zip(pairs, longest, strict=True)]


def weighted(model: Any, weight: torch.Tensor) -> Callable[..., Any]:
    """The model's forward, whose log-probabilities pass back gradients times the weight (n,) of their row; the batch has
    n rows, or n of chosen answers and then n of rejected ones."""

    def forward(**inputs: Any) -> Any:
        outputs = model(**inputs)
        if outputs.log_probs.requires_grad:
            scale = weight.repeat(len(outputs.log_probs) // len(weight))[:, None]
            outputs.log_probs.register_hook(lambda gradient: gradient * scale)
        return outputs

    return forward


def train_direct(
    name: str,
    kind: Kind,
    policy: Any,
    reference: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    train: list[Pair],
    dev: list[Pair],
    settings: DirectSettings,
    seed: int,
    on_log: OnLog,
    watch: Watch,
    samples: list[dict[str, Any]],
    resume: Resume | None = None,
) -> None:
    """Train in place, until the end or until the KL that `watch` sees (`objective/kl`) has spent its budget. `on_log`
    also hears what was logged before the state that `resume` found; `samples`, which `watch` may fill, come back with it.
    `name`: what the bar shows.

    `reference` is None where the policy has adapters. Raises Diverged when the loss is no longer finite.
    """
    from datasets import Dataset, disable_progress_bars
    from transformers import PrinterCallback

    disable_progress_bars()
    make, collator = kind.trainer, kind.collator(pad_token_id=tokenizer.pad_token_id)
    rows = (kind.rows(pairs, settings.batch, seed) for pairs in (train, dev))
    train_rows, dev_rows = map(Dataset.from_list, rows)
    with tempfile.TemporaryDirectory() as folder:
        usual = trainer_arguments(settings, folder, seed)
        usual |= {"beta": settings.beta, "eval_strategy": "epoch", "remove_unused_columns": False, **kind.options}

        class DirectTrainer(Resumable, make):  # type: ignore[misc, valid-type]
            def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
                return dataset  # TRL would tokenise, and cut a long conversation at its end

            def compute_loss(self, model: Any, inputs: Any, *more: Any, **options: Any) -> Any:
                rest = {name: value for name, value in inputs.items() if name != "weight"}
                policy = with_packed_head(self, model, settings.bf16)
                return super().compute_loss(weighted(policy, inputs["weight"]), rest, *more, **options)

            def snapshot(self) -> tuple[Tensors, dict[str, Any]]:
                tensors, record = super().snapshot()
                return tensors, record | {"samples": list(samples)}

            def take_over(self, found: Saved) -> None:
                super().take_over(found)
                samples[:] = found.state["samples"]

        def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
            weights = torch.tensor([row["weight"] for row in rows], dtype=torch.float32)
            return {**collator(rows), "weight": weights}

        trainer = DirectTrainer(
            model=policy,
            ref_model=reference,
            args=kind.arguments(**usual),
            data_collator=collate,
            train_dataset=train_rows,
            eval_dataset=dev_rows,
            processing_class=tokenizer,
            callbacks=[logging_callback(on_log, name), _watching(policy, settings, watch, on_log)],
        )
        trainer.remove_callback(PrinterCallback)  # it writes to standard output
        if reference is not None:
            trainer.ref_model = with_packed_head(trainer, trainer.ref_model, settings.bf16)
        trainer.go(resume)


def _watching(policy: Any, settings: DirectSettings, watch: Watch, on_log: OnLog) -> Any:
    """Callback that looks at the policy before the first step, every so many steps and after the last one."""
    from transformers import TrainerCallback

    class Watching(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 0:
                self._look(state)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % settings.watch_steps == 0 or state.global_step == state.max_steps:
                seen = self._look(state)
                if settings.kl_budget is not None and seen["objective/kl"] >= settings.kl_budget:
                    control.should_training_stop = True

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not torch.isfinite(torch.tensor(float((logs or {}).get("loss", 0.0)))):
                raise Diverged("the loss is no longer finite")

        def _look(self, state: Any) -> dict[str, float]:
            seen = watch(state.global_step)
            policy.train()  # TRL tells training from evaluation by the mode, which sampling has changed
            state.log_history.append({"step": state.global_step, **seen})  # kept in checkpoints
            on_log(state.global_step, seen)
            return seen

    return Watching()
