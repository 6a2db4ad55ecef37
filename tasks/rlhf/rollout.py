"""Sampling of responses with a key–value cache, and log-probabilities of given responses."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

COMPACT_BELOW = 0.75  # finished rows leave the batch when fewer than this share are still going


@dataclass
class Rollout:
    """Prompts and sampled responses of one batch.

    `prompt_ids`, `prompt_mask` (B, P): left-padded. `response_ids`, `mask`, `logprobs` (B, T): right-padded, cut after
    the end token, which counts as real; `logprobs` in fp32 at the sampling temperature. `ended` (B,): whether the end
    token came.
    """

    prompt_ids: torch.Tensor
    prompt_mask: torch.Tensor
    response_ids: torch.Tensor
    mask: torch.Tensor
    logprobs: torch.Tensor
    ended: torch.Tensor

    def rows(self, index: torch.Tensor) -> Rollout:
        """A part of the batch, with the columns that are padding in all of its rows cut off."""
        part = Rollout(*(getattr(self, f.name)[index] for f in fields(self)))
        start = int(part.prompt_mask.argmax(-1).min())
        end = int(part.mask.sum(-1).max())
        part.prompt_ids, part.prompt_mask = part.prompt_ids[:, start:], part.prompt_mask[:, start:]
        part.response_ids, part.mask = part.response_ids[:, :end], part.mask[:, :end]
        part.logprobs = part.logprobs[:, :end]
        return part

    def groups(self, size: int) -> list[torch.Tensor]:
        """Row indices in groups of similar length."""
        lengths = (self.prompt_mask.sum(-1) + self.mask.sum(-1)).long().tolist()
        return [torch.tensor(g, device=self.mask.device) for g in length_groups(lengths, size)]

    def conversation(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(ids, mask) of prompt and response together, (B, P + T)."""
        return torch.cat([self.prompt_ids, self.response_ids], 1), torch.cat([self.prompt_mask, self.mask], 1)


def pad_left(prompts: Sequence[Sequence[int]], pad_token_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask), each (B, longest prompt)."""
    width = max(len(p) for p in prompts)
    ids = torch.full((len(prompts), width), pad_token_id)
    mask = torch.zeros((len(prompts), width), dtype=torch.long)
    for i, prompt in enumerate(prompts):
        ids[i, width - len(prompt) :] = torch.tensor(prompt)
        mask[i, width - len(prompt) :] = 1
    return ids, mask


def position_ids(mask: torch.Tensor) -> torch.Tensor:
    """Positions that count real tokens only."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def causal_lm(model: Any) -> Any:
    """The transformers model inside an adapter wrapper, adapters in place; the model itself if there is none."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def length_groups(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Indices in groups of at most `size` rows of similar length, so that little of a padded batch is padding."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    return [order[at : at + size] for at in range(0, len(order), size)]


@torch.no_grad()
def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    pad_token_id: int,
    stop_token_id: int,
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator,
    group: int = 32,
) -> Rollout:
    """Sample one response for each prompt from softmax(logits / temperature), `group` rows of similar length at a time.

    `generator` lives on the CPU and draws one uniform number per row and token before anything else, so that a seed
    gives the same responses whatever the groups are and whichever rows have ended. Call under autocast for bf16.
    """
    model.eval()
    core = causal_lm(model)
    device = next(core.parameters()).device
    uniform = torch.rand(len(prompts), max_new_tokens, generator=generator).to(device)
    ids, mask = (t.to(device) for t in pad_left(prompts, pad_token_id))
    shape = (len(prompts), max_new_tokens)
    out = Rollout(
        ids,
        mask,
        torch.full(shape, pad_token_id, device=device),
        torch.zeros(shape, device=device),
        torch.zeros(shape, device=device),
        torch.zeros(len(prompts), dtype=torch.bool, device=device),
    )
    for rows in length_groups([len(p) for p in prompts], group):
        _sample_group(core, out, torch.tensor(rows, device=device), uniform, stop_token_id, temperature)
    width = max(1, int(out.mask.sum(-1).max()))
    out.response_ids, out.mask, out.logprobs = out.response_ids[:, :width], out.mask[:, :width], out.logprobs[:, :width]
    return out


def _sample_group(
    core: Any, out: Rollout, alive: torch.Tensor, uniform: torch.Tensor, stop_token_id: int, temperature: float
) -> None:
    """Fill the rows `alive` of `out`; rows that have ended leave the key-value cache now and then."""
    from transformers import DynamicCache

    start = int(out.prompt_mask[alive].argmax(-1).min())
    seen = out.prompt_mask[alive, start:]
    step_ids, step_positions = out.prompt_ids[alive, start:], position_ids(seen)
    cache = DynamicCache()
    for step in range(uniform.shape[1]):
        logits = core(
            step_ids,
            attention_mask=seen,
            position_ids=step_positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        log_probabilities = torch.log_softmax(logits.float() / temperature, -1)
        tokens = _inverse_cdf(log_probabilities, uniform[alive, step])
        going = ~out.ended[alive]
        rows = alive[going]
        out.response_ids[rows, step] = tokens[going]
        out.mask[rows, step] = 1
        out.logprobs[rows, step] = log_probabilities.gather(1, tokens[:, None])[going, 0]
        out.ended[rows] = tokens[going] == stop_token_id
        going = ~out.ended[alive]
        if not going.any():
            return
        step_ids, step_positions = tokens[:, None], step_positions[:, -1:] + 1
        seen = torch.cat([seen, torch.ones_like(seen[:, :1])], 1)
        if going.float().mean() < COMPACT_BELOW:
            kept = going.nonzero()[:, 0]
            cache.batch_select_indices(kept)
            alive, step_ids, step_positions, seen = alive[kept], step_ids[kept], step_positions[kept], seen[kept]


def _inverse_cdf(log_probabilities: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Token (B,) whose cumulative probability first exceeds `uniform` (B,)."""
    cumulative = log_probabilities.exp().cumsum(-1)
    target = (uniform * cumulative[:, -1])[:, None]
    return torch.searchsorted(cumulative, target, right=True)[:, 0].clamp(max=log_probabilities.shape[-1] - 1)


def response_logprobs(model: Any, rollout: Rollout, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(logprobs, entropy), each (B, T) in fp32, of the rollout's responses under `model`, at `temperature`.

    Logits are made for response positions only.
    """
    core = causal_lm(model)
    ids, mask = rollout.conversation()
    first = rollout.prompt_ids.shape[1] - 1
    hidden = core.base_model(ids, attention_mask=mask, position_ids=position_ids(mask.long())).last_hidden_state
    logits = core.get_output_embeddings()(hidden[:, first:-1]).float() / temperature
    every = torch.log_softmax(logits, -1)
    with torch.no_grad():
        entropy = -(every.exp() * every).sum(-1)
    return every.gather(-1, rollout.response_ids[:, :, None])[:, :, 0], entropy


def response_values(model: Any, rollout: Rollout) -> torch.Tensor:
    """Values (B, T) in fp32 of the states before each response token, by a model with a `score` head."""
    core = causal_lm(model)
    ids, mask = rollout.conversation()
    first = rollout.prompt_ids.shape[1] - 1
    hidden = core.base_model(ids, attention_mask=mask, position_ids=position_ids(mask.long())).last_hidden_state
    values: torch.Tensor = core.score(hidden[:, first:-1])[:, :, 0].float()
    return values
