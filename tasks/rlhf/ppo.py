"""Proximal policy optimisation against a reward model, with KL to a reference (Schulman et al. 2017; Ziegler et al.
2019; details after Huang et al. 2024, "The N+ Implementation Details of RLHF with PPO").

Each update: 1. sample responses; 2. score them, and take log-probabilities of the reference and values; 3. rewards per
token and advantages; 4. several epochs of clipped updates. Statistics are fp32 and masked; dropout is off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from tasks.rlhf import ppo_losses as losses
from tasks.rlhf.models import score
from tasks.rlhf.rollout import Rollout, response_logprobs, response_values, sample

Scorer = Callable[[Rollout], torch.Tensor]
Metrics = dict[str, float]


class PpoSettings(Protocol):
    """`ppo` of params.yaml."""

    episodes: int
    batch: int
    minibatch: int
    microbatch: int
    epochs: int
    learning_rate: float
    kl_coef: float
    gamma: float
    lam: float
    clip_range: float
    clip_range_value: float
    value_coef: float
    max_grad_norm: float
    temperature: float
    max_new_tokens: int
    missing_eos_penalty: float
    whiten_rewards: bool
    bf16: bool


@dataclass
class Experience:
    """A scored rollout. `scores` (B,); the others (B, T)."""

    rollout: Rollout
    scores: torch.Tensor
    ref_logprobs: torch.Tensor
    values: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor
    kl: torch.Tensor
    rewards: torch.Tensor


class PpoTrainer:
    """Policy, reference, value model and optimizer of one training. Two trainers share no state."""

    def __init__(
        self,
        policy: Any,
        reference: Any | None,
        value_model: Any,
        scorer: Scorer,
        settings: PpoSettings,
        *,
        pad_token_id: int,
        stop_token_id: int,
        seed: int,
    ) -> None:
        """`reference` is None where the policy has adapters: without them it is the reference."""
        from accelerate import Accelerator

        self.accelerator = Accelerator(mixed_precision="bf16" if settings.bf16 else "no")
        self.device = self.accelerator.device
        self.policy, self.value_model = policy.to(self.device), value_model.to(self.device)
        self.reference = reference.to(self.device) if reference is not None else None
        self.scorer, self.settings = scorer, settings
        self.pad_token_id, self.stop_token_id = pad_token_id, stop_token_id
        self.generator = torch.Generator().manual_seed(seed)
        self.updates = max(1, settings.episodes // settings.batch)
        self.trainable = [[p for p in m.parameters() if p.requires_grad] for m in (self.policy, self.value_model)]
        self.optimizer = torch.optim.AdamW(
            [p for group in self.trainable for p in group], lr=settings.learning_rate, eps=1e-5, weight_decay=0.0
        )
        self.step = 0
        self._pending: list[int] = []  # prompts of this pass that are still to come

    def train(self, prompts: Sequence[Sequence[int]]) -> Iterator[Metrics]:
        """Run the updates that are left over `prompts` (token ids), drawn in a new order each pass; yields metrics
        after each. The learning rate falls linearly to 0.

        Raises FloatingPointError when a loss is no longer finite.
        """
        while self.step < self.updates:
            for group in self.optimizer.param_groups:
                group["lr"] = self.settings.learning_rate * (1 - self.step / self.updates)
            experience = self.collect(self._draw(prompts))
            metrics = self.update(experience)
            self.step += 1
            yield describe(experience) | metrics

    def _draw(self, prompts: Sequence[Sequence[int]]) -> list[Sequence[int]]:
        """The next batch of prompts."""
        while len(self._pending) < self.settings.batch:
            self._pending += torch.randperm(len(prompts), generator=self.generator).tolist()
        drawn, self._pending = self._pending[: self.settings.batch], self._pending[self.settings.batch :]
        return [prompts[i] for i in drawn]

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """(tensors, JSON values): all that a trainer made alike needs to go on, bit for bit, from here."""
        tensors = {f"weights.{name}": p.data for name, p in self._named_trainable()}
        for name, parameter in self._named_trainable():
            moments = self.optimizer.state.get(parameter, {})
            tensors |= {f"optimizer.{key}.{name}": value for key, value in moments.items()}
        tensors |= {"rng.sampling": self.generator.get_state(), "rng.torch": torch.get_rng_state()}
        return tensors, {"step": self.step, "pending": self._pending}

    def restore(self, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
        """Take over a `state()`."""
        for name, parameter in self._named_trainable():
            parameter.data.copy_(tensors[f"weights.{name}"])
            self.optimizer.state[parameter] = {
                key: tensors[f"optimizer.{key}.{name}"].to(self.device) for key in ("step", "exp_avg", "exp_avg_sq")
            }
        self.generator.set_state(tensors["rng.sampling"])
        torch.set_rng_state(tensors["rng.torch"])
        self.step, self._pending = int(state["step"]), list(state["pending"])

    def _named_trainable(self) -> list[tuple[str, torch.nn.Parameter]]:
        models = {"policy": self.policy, "value": self.value_model}
        return [(f"{m}.{n}", p) for m, model in models.items() for n, p in model.named_parameters() if p.requires_grad]

    @torch.no_grad()
    def collect(self, prompts: Sequence[Sequence[int]]) -> Experience:
        """Sample one response for each prompt and work out its advantages."""
        s = self.settings
        with self.accelerator.autocast():
            rollout = sample(
                self.policy,
                prompts,
                pad_token_id=self.pad_token_id,
                stop_token_id=self.stop_token_id,
                max_new_tokens=s.max_new_tokens,
                temperature=s.temperature,
                generator=self.generator,
            )
            ref_logprobs, values, scores = self._judge(rollout)
        scores = scores - s.missing_eos_penalty * (~rollout.ended).float()
        kl = losses.kl_per_token(rollout.logprobs, ref_logprobs) * rollout.mask
        rewards = losses.token_rewards(scores, kl, rollout.mask, s.kl_coef)
        if s.whiten_rewards:
            rewards = losses.masked_whiten(rewards, rollout.mask, shift_mean=False)
        advantages, returns = losses.gae(rewards, values, rollout.mask, s.gamma, s.lam)
        advantages = losses.masked_whiten(advantages, rollout.mask)
        return Experience(rollout, scores, ref_logprobs, values, advantages, returns, kl, rewards)

    def _judge(self, rollout: Rollout) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(reference log-probabilities (B, T), values (B, T), scores (B,)), 0 where there is no token."""
        ref_logprobs, values = torch.zeros_like(rollout.mask), torch.zeros_like(rollout.mask)
        scores = torch.zeros_like(rollout.mask[:, 0])
        for index in rollout.groups(self.settings.microbatch):
            part = rollout.rows(index)
            width = part.mask.shape[1]
            ref_logprobs[index, :width] = self._reference_logprobs(part) * part.mask
            values[index, :width] = response_values(self.value_model, part) * part.mask
            scores[index] = self.scorer(part).float()
        return ref_logprobs, values, scores

    def _reference_logprobs(self, rollout: Rollout) -> torch.Tensor:
        model = self.policy if self.reference is None else self.reference
        with self.policy.disable_adapter() if self.reference is None else nullcontext():
            return response_logprobs(model, rollout, self.settings.temperature)[0]

    def update(self, experience: Experience) -> Metrics:
        """Several epochs of minibatch steps on one batch; gives the means of their diagnostics."""
        s, size = self.settings, experience.scores.shape[0]
        seen: list[Metrics] = []
        for _ in range(s.epochs):
            order = torch.randperm(size, generator=self.generator)
            for at in range(0, size, s.minibatch):
                index = order[at : at + s.minibatch].to(self.device)
                seen.append(self._step(experience, index))
        means = {k: sum(m[k] for m in seen) / len(seen) for k in seen[0]}
        ratios = torch.tensor([m["val/ratio"] for m in seen])
        return means | {"val/ratio_var": float(ratios.var(unbiased=False)), "val/first_ratio": float(ratios[0])}

    def _step(self, experience: Experience, index: torch.Tensor) -> Metrics:
        """One optimiser step on the rows `index`; their mean over tokens does not depend on the microbatches."""
        s = self.settings
        minibatch = experience.rollout.rows(index)
        tokens = minibatch.mask.sum()
        self.optimizer.zero_grad(set_to_none=True)
        means: dict[str, float] = {}
        for part in minibatch.groups(s.microbatch):
            rows = index[part]
            rollout = experience.rollout.rows(rows)
            share = rollout.mask.sum() / tokens
            loss, diagnostics = self._losses(experience, rollout, rows)
            if not torch.isfinite(loss):
                raise FloatingPointError("the loss is no longer finite")
            self.accelerator.backward(loss * share)
            for name, value in diagnostics.items():
                means[name] = means.get(name, 0.0) + float(value * share)
        norms = [torch.nn.utils.clip_grad_norm_(group, s.max_grad_norm) for group in self.trainable]
        self.optimizer.step()
        return means | {"policy/grad_norm": float(norms[0])}

    def _losses(
        self, experience: Experience, rollout: Rollout, rows: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """(loss, diagnostics), means over the tokens of `rollout`, the rows `rows` of the experience."""
        s, width, mask = self.settings, rollout.mask.shape[1], rollout.mask
        advantages, returns, old_values = (
            getattr(experience, name)[rows, :width] for name in ("advantages", "returns", "values")
        )
        with self.accelerator.autocast():
            logprobs, entropy = response_logprobs(self.policy, rollout, s.temperature)
            values = response_values(self.value_model, rollout)
        pg_loss, ratio, clipped = losses.policy_loss(logprobs, rollout.logprobs, advantages, mask, s.clip_range)
        v_loss = losses.value_loss(values, old_values, returns, mask, s.clip_range_value)
        log_ratio = (logprobs - rollout.logprobs).detach()
        return pg_loss + s.value_coef * v_loss, {
            "policy/approxkl_avg": 0.5 * losses.masked_mean(log_ratio**2, mask),
            "policy/clipfrac_avg": clipped,
            "policy/entropy_avg": losses.masked_mean(entropy, mask),
            "loss/policy_avg": pg_loss.detach(),
            "loss/value_avg": v_loss.detach(),
            "val/ratio": losses.masked_mean(ratio.detach(), mask),
        }


def describe(experience: Experience) -> Metrics:
    """Objective of one batch, under the field's names: means over responses of sums over their tokens."""
    rollout = experience.rollout
    non_score = (experience.rewards.sum(1) - experience.scores).mean()
    return {
        "objective/kl": float(experience.kl.sum(1).mean()),
        "objective/entropy": float(-(rollout.logprobs * rollout.mask).sum(1).mean()),
        "objective/scores": float(experience.scores.mean()),
        "objective/non_score_reward": float(non_score),
        "objective/rlhf_reward": float(experience.scores.mean() + non_score),
        "val/response_length": float(rollout.mask.sum(1).mean()),
        "val/eos_share": float(rollout.ended.float().mean()),
    }


def reward_scorer(reward_model: Any) -> Scorer:
    """Scorer that reads the reward model at the last real token of each conversation."""

    def scorer(rollout: Rollout) -> torch.Tensor:
        ids, mask = rollout.conversation()
        return score(reward_model, ids, mask.long())

    return scorer
