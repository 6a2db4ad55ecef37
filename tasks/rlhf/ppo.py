"""Proximal policy optimisation against a reward model, with KL to a reference (Schulman et al. 2017; Ziegler et al.
2019; details after Huang et al. 2024, "The N+ Implementation Details of RLHF with PPO").

Each update: 1. sample responses; 2. score them, and take log-probabilities of the reference and values; 3. rewards per
token and advantages; 4. several epochs of clipped updates. Statistics are fp32 and masked; dropout is off.

Under torchrun or `accelerate launch` each process samples, scores and differentiates its share of the rows; what it
found is added up over the processes, so that every process knows the whole batch and takes the same step. Models may be
sharded, with gradients summed (`tasks.rlhf.sharding`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from tasks.rlhf import ppo_losses as losses
from tasks.rlhf.compiled import placed_for_work
from tasks.rlhf.device_memory import tokens_at_once
from tasks.rlhf.kl import adapted_coefficient, kl_per_token
from tasks.rlhf.packing import check_packing, transformer
from tasks.rlhf.ppo_settings import PpoSettings
from tasks.rlhf.precision import autocast
from tasks.rlhf.processes import Shared, accelerate_state
from tasks.rlhf.rollout import (
    Rollout,
    response_both,
    response_logprobs,
    response_values,
    sample,
    score_head,
    token_groups,
)
from tasks.rlhf.sharding import alike, clip_gradients, gathered, placed, sharded, whole

Scorer = Callable[[Rollout], torch.Tensor]
StepScorer = Callable[[Rollout], tuple[torch.Tensor, torch.Tensor]]  # (probabilities, ends), see `losses.step_rewards`
Metrics = dict[str, float]
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps for each parameter
DIAGNOSTICS = ("policy/approxkl_avg", "policy/clipfrac_avg", "loss/policy_avg", "loss/value_avg", "val/ratio")


class Diverged(ArithmeticError):
    """The training went wrong in a way that it does not recover from; the message says how."""


@dataclass
class Experience:
    """A scored rollout. `scores` (B,); `kl` (B, T), k1; `values`, `rewards`, `advantages`, `returns` (B, T+1), `steps` as
    well, the part of the rewards that is of steps, where they are rewarded."""

    rollout: Rollout
    scores: torch.Tensor
    kl: torch.Tensor
    values: torch.Tensor
    rewards: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor
    steps: torch.Tensor | None = None


class PpoTrainer:
    """Policy, reference, value function and optimizer of one training. Two trainers share no state."""

    def __init__(
        self,
        policy: Any,
        reference: Any | None,
        value_model: Any | None,
        scorer: Scorer,
        settings: PpoSettings,
        *,
        pad_token_id: int,
        stop_token_id: int,
        seed: int,
        step_scorer: StepScorer | None = None,
    ) -> None:
        """`step_scorer` is asked where `step_rewards` has a weight. `reference` is None where the policy has adapters: without them it is the reference. `value_model` is None
        where the value function is a head on the policy's trunk; the head begins at 0."""
        processes = accelerate_state()
        self.device, self.shared = processes.device, Shared(processes.process_index, processes.num_processes)
        self.policy = placed_for_work(policy, self.device)  # adapters would bring dropout of their own
        self.reference = placed_for_work(reference, self.device) if reference is not None else None
        self.value_model = placed_for_work(value_model, self.device) if value_model is not None else None
        self.value_head = torch.nn.Linear(transformer(policy).config.hidden_size, 1, bias=False, device=self.device)
        torch.nn.init.zeros_(self.value_head.weight)
        self.scorer, self.settings = scorer, settings
        self.microbatch_tokens = tokens_at_once(policy, settings.microbatch_tokens)
        self.step_scorer = step_scorer if settings.step_rewards else None
        self.pad_token_id, self.stop_token_id = pad_token_id, stop_token_id
        self.generator = torch.Generator().manual_seed(seed)
        self.updates = max(1, settings.episodes // settings.batch)
        self.optimizer = torch.optim.AdamW(
            [{"params": group} for group in alike(p for _, p in self._trainable())],
            lr=settings.learning_rate,
            eps=1e-5,
            weight_decay=0.0,
            fused=True,
        )
        self.kl_coef = settings.kl_coef
        self.step = 0
        self.stopped = False
        self.experience: Experience | None = None  # of the last update
        self._pending: list[int] = []  # prompts of this pass that are still to come

    def train(self, prompts: Sequence[Sequence[int]]) -> Iterator[Metrics]:
        """Run the updates that are left over `prompts` (token ids), drawn in a new order each pass; yields metrics
        after each. The learning rate falls linearly to 0. Ends early, without that update, once the policy has spent
        its KL budget.

        Raises Diverged when the loss is no longer finite, the KL explodes or the entropy collapses; ValueError when
        the model cannot be trained in packed rows.
        """
        s = self.settings
        with whole(self.policy):
            check_packing(self.policy, prompts)
        while self.step < self.updates and not self.stopped:
            for group in self.optimizer.param_groups:
                group["lr"] = s.learning_rate * (1 - self.step / self.updates)
            self.experience = experience = self.collect(self._draw(prompts))
            metrics = describe(experience) | {"objective/kl_coef": self.kl_coef}
            self._refuse_divergence(metrics)
            self.step += 1
            self.stopped = s.kl_budget is not None and metrics["objective/kl"] >= s.kl_budget
            if not self.stopped:
                metrics |= self.update(experience)
                self.kl_coef = adapted_coefficient(
                    self.kl_coef, metrics["objective/kl"], s.kl_target, s.kl_horizon, s.batch
                )
            yield metrics

    def _draw(self, prompts: Sequence[Sequence[int]]) -> list[Sequence[int]]:
        """The next batch of prompts."""
        while len(self._pending) < self.settings.batch:
            self._pending += torch.randperm(len(prompts), generator=self.generator).tolist()
        drawn, self._pending = self._pending[: self.settings.batch], self._pending[self.settings.batch :]
        return [prompts[i] for i in drawn]

    def _refuse_divergence(self, metrics: Metrics) -> None:
        kl, entropy = metrics["objective/kl"], metrics["policy/entropy_avg"]
        if kl > self.settings.max_kl:
            raise Diverged(f"the KL to the reference exploded ({kl:.1f} nats a response, ppo.max_kl is exceeded)")
        if entropy < self.settings.min_entropy:
            raise Diverged(f"the entropy collapsed ({entropy:.4f} nats a token, below ppo.min_entropy)")

    @torch.no_grad()
    def collect(self, prompts: Sequence[Sequence[int]]) -> Experience:
        """Sample one response for each prompt and work out its advantages."""
        s = self.settings
        with self._autocast():
            with whole(self.policy):
                rollout = sample(
                    self.policy,
                    prompts,
                    pad_token_id=self.pad_token_id,
                    stop_token_id=self.stop_token_id,
                    max_new_tokens=s.max_new_tokens,
                    temperature=s.temperature,
                    generator=self.generator,
                    value_head=self._values_of if self.value_model is None else None,
                    share=self.shared.share,
                )
            for name in ("response_ids", "mask", "logprobs", "entropy", "values", "ended"):
                setattr(rollout, name, self.shared.whole(getattr(rollout, name)))
            ref_logprobs, values, scores = self._judge(rollout)
        scores = losses.score_without_end(scores, rollout.ended, s.missing_eos_score, s.missing_eos_penalty)
        penalty = kl_per_token(rollout.logprobs, ref_logprobs, s.kl_estimator)
        rewards = losses.token_rewards(scores, penalty, rollout.mask, self.kl_coef)
        steps = self._step_rewards(rollout)
        rewards = rewards if steps is None else rewards + steps
        if s.whiten_rewards:
            rewards = losses.masked_whiten(rewards, rollout.state_mask, shift_mean=False)
        advantages, returns = losses.gae(rewards, values, rollout.state_mask, s.gamma, s.lam)
        advantages[:, :-1] = losses.masked_whiten(advantages[:, :-1], rollout.mask)
        kl = kl_per_token(rollout.logprobs, ref_logprobs, "k1") * rollout.mask
        return Experience(rollout, scores, kl, values, rewards, advantages, returns, steps)

    def _judge(self, rollout: Rollout) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(reference log-probabilities (B, T), values (B, T+1), scores (B,)), 0 where there is no token."""
        ref_logprobs, values = torch.zeros_like(rollout.logprobs), rollout.values.clone()
        scores = torch.zeros_like(values[:, 0])
        model = self.policy if self.reference is None else self.reference
        for index, _ in self._parts(rollout, torch.arange(len(scores))):
            part = rollout.rows(index)
            with self.policy.disable_adapter() if self.reference is None else nullcontext():
                ref_logprobs[index] = response_logprobs(model, part, self.settings.temperature)
            if self.value_model is not None:
                values[index] = response_values(self.value_model, score_head(self.value_model), part)
            scores[index] = self.scorer(part).float()
        return self.shared.whole(ref_logprobs), self.shared.whole(values), self.shared.whole(scores)

    def _step_rewards(self, rollout: Rollout) -> torch.Tensor | None:
        """(B, T+1), of the ends of steps; None where they are not rewarded."""
        if self.step_scorer is None:
            return None
        probabilities, ends = torch.zeros_like(rollout.logprobs), torch.zeros_like(rollout.logprobs)
        with self._autocast():
            for index, _ in self._parts(rollout, torch.arange(len(probabilities))):
                of_part, at = self.step_scorer(rollout.rows(index))
                probabilities[index], ends[index] = of_part.float(), at.float()
        probabilities, ends = self.shared.whole(probabilities), self.shared.whole(ends)
        return losses.step_rewards(probabilities, ends, self.settings.step_rewards)

    def update(self, experience: Experience) -> Metrics:
        """Several epochs of minibatch steps on one batch; gives the means of their diagnostics over the real tokens."""
        s, size = self.settings, experience.scores.shape[0]
        steps: list[dict[str, torch.Tensor]] = []
        for _ in range(s.epochs):
            order = torch.randperm(size, generator=self.generator)
            steps += [self._step(experience, order[at : at + s.minibatch]) for at in range(0, size, s.minibatch)]
        seen = {name: torch.stack([step[name] for step in steps]).float().cpu() for name in steps[0]}
        ratios = seen["val/ratio"]
        means = {name: float(values.mean()) for name, values in seen.items()}
        return means | {"val/ratio_var": float(ratios.var(unbiased=False)), "val/first_ratio": float(ratios[0])}

    def _step(self, experience: Experience, index: torch.Tensor) -> dict[str, torch.Tensor]:
        """One optimiser step on the rows `index`; their mean over tokens does not depend on the microbatches."""
        tokens = experience.rollout.mask[index.to(self.device, non_blocking=True)].sum()
        states = tokens + len(index)
        self.optimizer.zero_grad(set_to_none=True)
        sums = dict.fromkeys(DIAGNOSTICS, torch.zeros((), device=self.device))
        for rows, counts in self._parts(experience.rollout, index):
            rollout = experience.rollout.rows(rows)
            of = (tokens, states) if counts else (tokens * math.inf, states * math.inf)
            for name, value in self._backward(experience, rollout, rows, *of).items():
                sums[name] = sums[name] + value
        parameters = [p for _, p in self._trainable()]
        sums = dict(zip(sums, self.shared.total(torch.stack(list(sums.values()))), strict=True))
        for parameter in parameters:
            if not sharded(parameter):
                parameter.grad = self.shared.total(
                    torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                )
        sums["policy/grad_norm"] = clip_gradients(parameters, self.settings.max_grad_norm)
        if not torch.isfinite(sums["policy/grad_norm"]):
            raise Diverged("the loss is no longer finite")
        self.optimizer.step()
        return sums

    def _backward(
        self, experience: Experience, rollout: Rollout, rows: torch.Tensor, tokens: torch.Tensor, states: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Add the gradients of `rollout`, the rows `rows` of the experience; gives their part of the means over all
        `tokens` and `states` of the minibatch."""
        s, shared = self.settings, self.value_model is None
        _ = rollout.states  # before the policy's pass, and not between it and the value model's: see there
        with self._autocast():
            if shared:
                logprobs, values = response_both(self.policy, self._values_of, rollout, s.temperature)
            else:
                logprobs = response_logprobs(self.policy, rollout, s.temperature)
        advantages = experience.advantages[rows, :-1]
        loss, ratio, clipped = losses.policy_loss(logprobs, rollout.logprobs, advantages, rollout.mask, s.clip_range)
        loss = loss.sum() / tokens
        if not shared:
            torch.autograd.backward(loss)  # its graph is freed before the value model's is made
            with self._autocast():
                values = response_values(self.value_model, score_head(self.value_model), rollout)
        old, returns = experience.values[rows], experience.returns[rows]
        v_loss = losses.value_loss(values, old, returns, rollout.state_mask, s.clip_range_value).sum() / states
        torch.autograd.backward(loss + s.value_coef * v_loss if shared else s.value_coef * v_loss)
        log_ratio = (logprobs - rollout.logprobs).detach() * rollout.mask
        approximate_kl, mean_ratio = 0.5 * (log_ratio**2).sum(), (ratio.detach() * rollout.mask).sum()
        parts = (approximate_kl / tokens, clipped.sum() / tokens, loss.detach(), v_loss.detach(), mean_ratio / tokens)
        return dict(zip(DIAGNOSTICS, parts, strict=True))

    def _parts(self, rollout: Rollout, index: torch.Tensor) -> list[tuple[torch.Tensor, bool]]:
        """This process's rows among `index`, in groups that are in memory at once, and whether they count: where models
        are sharded, a process with fewer groups than another takes part in the rest with a row that does not."""
        lengths, shares = rollout.lengths, [index[k :: self.shared.count].tolist() for k in range(self.shared.count)]
        groups = [token_groups([lengths[i] for i in rows], self.microbatch_tokens) for rows in shares]
        own = [([shares[self.shared.index][i] for i in g], True) for g in groups[self.shared.index]]
        if any(map(sharded, self.policy.parameters())):
            own += [(index[:1].tolist(), False)] * (max(map(len, groups)) - len(own))
        return [(torch.tensor(rows).to(self.device, non_blocking=True), counts) for rows, counts in own]

    def _values_of(self, hidden: torch.Tensor) -> torch.Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            values: torch.Tensor = self.value_head(hidden.float())[:, 0]
        return values

    def _autocast(self) -> AbstractContextManager[Any]:
        return autocast(self.settings.bf16, self.device)

    def _trainable(self) -> list[tuple[str, torch.nn.Parameter]]:
        models = {"policy": self.policy, "value": self.value_head if self.value_model is None else self.value_model}
        return [(f"{m}.{n}", p) for m, model in models.items() for n, p in model.named_parameters() if p.requires_grad]

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """(tensors, JSON values): all that a trainer made alike needs to go on, bit for bit, from here."""
        tensors = {"rng.sampling": self.generator.get_state(), "rng.torch": torch.get_rng_state()}
        for name, parameter in self._trainable():
            tensors[f"weights.{name}"] = gathered(parameter.data)
            tensors |= {f"{key}.{name}": gathered(value) for key, value in self.optimizer.state[parameter].items()}
        record = {"step": self.step, "pending": self._pending, "kl_coef": self.kl_coef, "stopped": self.stopped}
        return tensors, record

    def restore(self, tensors: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> None:
        """Take over a `state()`."""
        for name, parameter in self._trainable():
            parameter.data.copy_(placed(tensors[f"weights.{name}"], parameter))
            found = {key: tensors[f"{key}.{name}"] for key in MOMENTS if f"{key}.{name}" in tensors}
            self.optimizer.state[parameter] = {key: placed(value, parameter) for key, value in found.items()}
        self.generator.set_state(tensors["rng.sampling"])
        torch.set_rng_state(tensors["rng.torch"])
        self.step, self._pending = int(record["step"]), list(record["pending"])
        self.kl_coef, self.stopped = float(record["kl_coef"]), bool(record["stopped"])


def describe(experience: Experience) -> Metrics:
    """Objective of one batch, under the field's names: means over responses of sums over their tokens."""
    rollout = experience.rollout
    non_score = (experience.rewards.sum(1) - experience.scores).mean()
    of_steps = {}
    if experience.steps is not None:
        of_steps["objective/step_rewards"] = float(experience.steps.sum(1).mean())
    return of_steps | {
        "objective/kl": float(experience.kl.sum(1).mean()),
        "objective/entropy": float(-(rollout.logprobs * rollout.mask).sum(1).mean()),
        "objective/scores": float(experience.scores.mean()),
        "objective/non_score_reward": float(non_score),
        "objective/rlhf_reward": float(experience.scores.mean() + non_score),
        "policy/entropy_avg": float(losses.masked_mean(rollout.entropy, rollout.mask)),
        "val/response_length": float(rollout.mask.sum(1).mean()),
        "val/eos_share": float(rollout.ended.float().mean()),
    }
