"""Reward-model training: TRL's RewardTrainer on rankings of two answers or more, with a weight and margin for each pair.

Early stopping: the loss on a dev part of the training side is measured every half epoch; training ends when it rises,
and the weights before the rise are kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch

from tasks.rlhf.branches import scores_at_once
from tasks.rlhf.distributional import normal_pairs
from tasks.rlhf.keep_best import EarlyStopped, KeepBest
from tasks.rlhf.losses import plackett_luce, ranked_pairs
from tasks.rlhf.models import pad_right
from tasks.rlhf.packing import transformer
from tasks.rlhf.precision import autocast
from tasks.rlhf.processes import Shared
from tasks.rlhf.resume import Resume
from tasks.rlhf.sft_trainer import OnLog, TrainingSettings, logging_callback, trainer_arguments

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ALL_HEADS = -1  # the head of a ranking that is about no single criterion: the weighted sum of all
EVALUATIONS_PER_EPOCH = 2  # a small reward model is often best before its second epoch ends


class RewardSettings(TrainingSettings, Protocol):
    """`reward` of params.yaml."""

    loss: Literal["bradley_terry", "plackett_luce"]
    label_smoothing: float


@dataclass(frozen=True)
class RankedRow:
    """One tokenised ranking: whole conversations, best first. `weights`, `margins`: of its pairs in the order of
    `itertools.combinations`; `head`: index of the one that the ranking is about; `lengths`: tokens of the responses alone. A pair is a ranking of two."""

    answers: list[list[int]]
    weights: list[float]
    margins: list[float]
    head: int = ALL_HEADS
    lengths: list[int] = field(default_factory=list)

    @classmethod
    def pair(cls, chosen: list[int], rejected: list[int], weight: float = 1.0, margin: float = 0.0) -> RankedRow:
        """A ranking of two."""
        return cls([chosen, rejected], [weight], [margin])


def collator(pad_token_id: int) -> Any:
    """Batch of rankings, those of as many answers side by side: of each such group all best answers come first, then
    all second ones, …; `groups` holds its `ways` K, `weight` and `margin` (n, C(K, 2)), and `head` (n,)."""

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        conversations, groups = [], []
        for ways in sorted({len(r["answers"]) for r in rows}):
            alike = [r for r in rows if len(r["answers"]) == ways]
            conversations += [r["answers"][rank] for rank in range(ways) for r in alike]
            group: dict[str, Any] = {"ways": ways, "head": torch.tensor([r["head"] for r in alike])}
            group |= {k: torch.tensor([r[f"{k}s"] for r in alike], dtype=torch.float32) for k in ("weight", "margin")}
            groups.append(group)
        ids, mask = pad_right(conversations, pad_token_id)
        return {"input_ids": ids, "attention_mask": mask, "groups": groups}

    return collate


def dataset_of(rows: list[RankedRow]) -> Any:
    """Rows as a dataset, with the length that batches are grouped by."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    return Dataset.from_list([vars(r) | {"length": max(map(len, r.answers))} for r in rows])


def own_scores(scores: torch.Tensor, groups: Sequence[dict[str, Any]], weights: Sequence[float]) -> torch.Tensor:
    """Scores (N,) of a collated batch's conversations by the heads that their rankings are about, from those of all heads
    (N, C); `weights` (C,) of the heads in the sum."""
    if list(weights) == [1.0]:
        return scores.squeeze(-1)
    select = torch.cat([torch.eye(len(weights)), torch.tensor([list(weights)])]).to(scores)
    heads = torch.cat([group["head"].repeat(group["ways"]) for group in groups])
    return (scores * select[heads]).sum(-1)


def ranked(scores: torch.Tensor, groups: Sequence[dict[str, Any]]) -> Iterator[tuple[torch.Tensor, dict[str, Any]]]:
    """(scores (n, K), best first, group) of each group of a collated batch; `scores` (N,): of its conversations. (n, K, 2) of
    (N, 2)."""
    at = 0
    for group in groups:
        n = len(group["weight"])
        yield scores[at : at + n * group["ways"]].reshape(group["ways"], n, *scores.shape[1:]).transpose(0, 1), group
        at += n * group["ways"]


def ranking_loss(scores: torch.Tensor, groups: Sequence[dict[str, Any]], settings: RewardSettings) -> torch.Tensor:
    """Mean over the rankings of a batch, a scalar; Plackett–Luce weighs a ranking by the mean weight of its pairs. `scores`
    (N,), or (N, 2), mean and spread of a distribution, which has a loss of its own."""
    total = sum(len(group["weight"]) for group in groups)
    losses = []
    for some, group in ranked(scores, groups):
        if some.ndim == 3:
            loss = normal_pairs(some, weight=group["weight"], label_smoothing=settings.label_smoothing)
        elif settings.loss == "plackett_luce":
            loss = plackett_luce(some, weight=group["weight"].mean(1))
        else:
            pairs = {"margin": group["margin"], "weight": group["weight"]}
            loss = ranked_pairs(some, **pairs, label_smoothing=settings.label_smoothing)
        losses.append(loss * (len(some) / total))
    return torch.stack(losses).sum()


def pair_scores(scores: torch.Tensor, groups: Sequence[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of the better and of the worse answer of every pair of a batch."""
    sides: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    for some, group in ranked(scores, groups):
        for side, index in zip(sides, torch.triu_indices(group["ways"], group["ways"], 1), strict=True):
            side.append(some[:, index].flatten())
    return torch.cat(sides[0]), torch.cat(sides[1])


@dataclass(frozen=True)
class Part:
    """What one process has of a collated batch: its own rankings as `inputs`, `pairs`: where the pairs of those are among
    the batch's `n_pairs`, and `scale`: of the own loss, so that the mean over processes is the loss of the batch."""

    inputs: dict[str, Any]
    pairs: torch.Tensor
    n_pairs: int
    scale: float

    def among_all(self, own: torch.Tensor) -> torch.Tensor:
        """(n_pairs,) in double precision: `own` where the own pairs are, elsewhere 0."""
        every = torch.zeros(self.n_pairs, dtype=torch.float64, device=own.device)
        if self.scale:
            every[self.pairs] = own.double()
        return every


def part_of(inputs: dict[str, Any], shared: Shared) -> Part:
    """The part of a process in a batch; with fewer rankings than processes, one ranking whose loss counts for nothing."""
    total = sum(len(group["weight"]) for group in inputs["groups"])
    own, any_left = shared.rows(total)
    rankings, conversations, n_pairs = 0, 0, 0
    rows, pairs, groups = [], [], []
    for group in inputs["groups"]:
        n, each = group["weight"].shape
        here = own[(own >= rankings) & (own < rankings + n)] - rankings
        if len(here):
            rows.append((conversations + torch.arange(group["ways"])[:, None] * n + here).flatten())
            pairs.append((n_pairs + here[:, None] * each + torch.arange(each)).flatten())
            groups.append({"ways": group["ways"]} | {k: group[k][here] for k in ("head", "weight", "margin")})
        rankings, conversations, n_pairs = rankings + n, conversations + n * group["ways"], n_pairs + n * each
    chosen = torch.cat(rows)
    mine = {k: inputs[k][chosen] for k in ("input_ids", "attention_mask")} | {"groups": groups}
    return Part(mine, torch.cat(pairs), n_pairs, any_left * len(own) * shared.count / total)


def train_reward(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: list[RankedRow],
    dev: list[RankedRow],
    settings: RewardSettings,
    seed: int,
    on_log: OnLog,
    description: str,
    resume: Resume | None = None,
    head_weights: Sequence[float] = (1.0,),
    *,
    distribution: bool = False,
) -> dict[str, float]:
    """Train in place and leave the weights of the best dev loss in the model; gives that evaluation's figures. `on_log`
    also hears what was logged before the state that `resume` found. `head_weights`: of the model's heads in the sum that
    rankings without a criterion are about; `distribution`: that the two heads are mean and spread of one."""
    from transformers import PrinterCallback
    from trl import RewardConfig, RewardTrainer

    class RankedRewardTrainer(EarlyStopped, RewardTrainer):
        best = KeepBest(model)

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset  # tokenised, and cut to `max_length`, already

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            sharing = model.training and self.shared.count > 1
            if sharing:
                part = part_of(inputs, self.shared)
                inputs = part.inputs
            logits = self._logits(model, inputs)
            scores = own_scores(logits.float(), inputs["groups"], head_weights)
            loss = ranking_loss(logits.float() if distribution else scores, inputs["groups"], settings)
            chosen, rejected = pair_scores(scores.detach(), inputs["groups"])
            if sharing:
                loss = loss * part.scale  # DDP takes the mean over processes
                chosen, rejected = (self.shared.total(part.among_all(side)) for side in (chosen, rejected))
            mode = "train" if model.training else "eval"
            difference = chosen - rejected
            self._metrics[mode]["rewards/chosen"].append(chosen.mean().item())
            self._metrics[mode]["rewards/rejected"].append(rejected.mean().item())
            self._metrics[mode]["rewards/accuracies"].append((difference > 0).float().mean().item())
            self._metrics[mode]["rewards/margins"].append(difference.mean().item())
            return (loss, {"logits": logits}) if return_outputs else loss

        def _logits(self, model: Any, inputs: Any) -> torch.Tensor:
            """(N, C) of a batch's conversations. What they begin with in common is read once, but not by several processes,
            whose wrapper of the model wants its own way."""
            ids, mask = inputs["input_ids"], inputs["attention_mask"]
            if self.shared.count > 1:
                logits: torch.Tensor = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
                return logits
            rows = [row[real.bool()].tolist() for row, real in zip(ids, mask, strict=True)]
            with autocast(settings.bf16, ids.device):
                return scores_at_once(model, transformer(model).score, rows)

    model.config.num_labels = 1  # TRL asks for it; of several heads a batch's own ones are taken here
    steps = -(-len(train) // settings.batch)
    with tempfile.TemporaryDirectory() as folder:
        arguments = RewardConfig(
            **trainer_arguments(settings, folder, seed),
            eval_strategy="steps",
            eval_steps=-(-steps // EVALUATIONS_PER_EPOCH),
            remove_unused_columns=False,
        )
        trainer = RankedRewardTrainer(
            model=model,
            args=arguments,
            data_collator=collator(tokenizer.pad_token_id),
            train_dataset=dataset_of(train),
            eval_dataset=dataset_of(dev),
            processing_class=tokenizer,
            callbacks=[logging_callback(on_log, description), RankedRewardTrainer.best],
        )
        trainer.remove_callback(PrinterCallback)  # it writes to standard output
        trainer.go(resume)
    return trainer.best.restore()
