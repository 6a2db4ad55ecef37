"""Policies straight from preference pairs, without a reward in the loop: TRL's DPOTrainer and KTOTrainer.

With h = log π(y|x) − log π_ref(y|x), summed over the answer's tokens (its end token included), h⁺ of the chosen and h⁻ of
the rejected answer:

dpo  −log σ(β (h⁺ − h⁻)). Rafailov et al. (2023), equation 7.
ipo  (h⁺/|y⁺| − h⁻/|y⁻| − 1/(2β))². Azar et al. (2023), equation 17, by the mean over tokens as TRL has it.
kto  1 − σ(β (h⁺ − z)) and 1 − σ(β (z − h⁻)), each answer for itself; z is the KL of the batch, from answers to other
     prompts. Ethayarajh et al. (2024), equation 8.

The reference is the model as it came: given, or the policy without its adapters. A row's weight scales its gradient;
TRL's losses, and what is logged of them, are plain means.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch

from tasks.rlhf.ppo import Diverged
from tasks.rlhf.resume import Resumable, Resume, Saved, Tensors
from tasks.rlhf.sft_trainer import OnLog, TrainingSettings, logging_callback, trainer_arguments

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Method = Literal["dpo", "ipo", "kto"]
Watch = Callable[[int], dict[str, float]]  # what is seen of the policy after so many steps


class DirectSettings(TrainingSettings, Protocol):
    """`dpo`, `ipo` or `kto` of params.yaml."""

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


def dataset_of(method: Method, pairs: list[Pair], batch: int, seed: int) -> Any:
    """Pairs as the tokenised dataset of TRL's trainer; for KTO each answer is a row, and carries another's answer for z."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    if method == "kto":
        return Dataset.from_list(_answers(pairs, batch, seed))
    longest = [len(p.prompt_ids) + max(len(p.chosen_ids), len(p.rejected_ids)) for p in pairs]
    return Dataset.from_list([vars(p) | {"length": n} for p, n in zip(pairs, longest, strict=True)])


def _answers(pairs: list[Pair], batch: int, seed: int) -> list[dict[str, Any]]:
    """Answers in the order in which they are trained on; in each batch the answers, turned round by one, are those of z."""
    rows = [
        {"prompt_ids": p.prompt_ids, "completion_ids": ids, "label": label, "weight": p.weight}
        for p in pairs
        for ids, label in ((p.chosen_ids, True), (p.rejected_ids, False))
    ]
    random.Random(seed).shuffle(rows)
    for at in range(0, len(rows), batch):
        part = rows[at : at + batch]
        for row, other in zip(part, [part[-1], *part[:-1]], strict=True):
            row["KL_completion_ids"] = other["completion_ids"]
    return rows


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
    method: Method,
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

    `reference` is None where the policy has adapters. Raises Diverged when the loss is no longer finite.
    """
    from transformers import PrinterCallback

    with tempfile.TemporaryDirectory() as folder:
        make, arguments, collator = _kind(method, settings, folder, seed, tokenizer)

        class DirectTrainer(Resumable, make):  # type: ignore[misc, valid-type]
            def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
                return dataset  # TRL would tokenise, and cut a long conversation at its end

            def compute_loss(self, model: Any, inputs: Any, *more: Any, **options: Any) -> Any:
                rest = {name: value for name, value in inputs.items() if name != "weight"}
                return super().compute_loss(weighted(model, inputs["weight"]), rest, *more, **options)

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
            args=arguments,
            data_collator=collate,
            train_dataset=dataset_of(method, train, settings.batch, seed),
            eval_dataset=dataset_of(method, dev, settings.batch, seed),
            processing_class=tokenizer,
            callbacks=[logging_callback(on_log, method), _watching(policy, settings, watch, on_log)],
        )
        trainer.remove_callback(PrinterCallback)  # it writes to standard output
        trainer.go(resume)


def _kind(
    method: Method, settings: DirectSettings, folder: str, seed: int, tokenizer: Any
) -> tuple[Any, Any, Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]]]:
    """(TRL's trainer, its arguments, its collator)."""
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
    from trl.trainer.dpo_trainer import DataCollatorForPreference
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

    usual = trainer_arguments(settings, folder, seed)
    usual |= {"beta": settings.beta, "eval_strategy": "epoch", "remove_unused_columns": False}
    pad = tokenizer.pad_token_id
    if method == "kto":  # z belongs to the order of the rows, which is random already
        usual |= {"train_sampling_strategy": "sequential"}
        return KTOTrainer, KTOConfig(**usual), DataCollatorForUnpairedPreference(pad_token_id=pad)
    loss = {"dpo": "sigmoid", "ipo": "ipo"}[method]
    return DPOTrainer, DPOConfig(**usual, loss_type=[loss]), DataCollatorForPreference(pad_token_id=pad)


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
