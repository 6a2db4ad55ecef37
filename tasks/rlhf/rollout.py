"""Sampling of responses with a key–value cache, and log-probabilities and values of given responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch

from tasks.rlhf.compiled import as_written
from tasks.rlhf.decoding import Decoder
from tasks.rlhf.device_memory import rows_at_once
from tasks.rlhf.packing import KeyValueCache, Packed, hidden_states, transformer
from tasks.rlhf.sharding import within
from tasks.rlhf.token_logprobs import token_logprobs

Head = Callable[[torch.Tensor], torch.Tensor]


@dataclass
class Rollout:
    """Prompts and sampled responses of one batch.

    `prompt_ids`, `prompt_mask` (B, P): left-padded. `response_ids`, `mask`, `logprobs`, `entropy` (B, T), T the most
    that was allowed: right-padded, cut after the end token, which counts as real; the last two in fp32 at the sampling
    temperature. `values` (B, T+1):
    of the states before each token and after the last one, where a value head was given, else 0. `ended` (B,): whether
    the end token came.
    """

    prompt_ids: torch.Tensor
    prompt_mask: torch.Tensor
    response_ids: torch.Tensor
    mask: torch.Tensor
    logprobs: torch.Tensor
    entropy: torch.Tensor
    values: torch.Tensor
    ended: torch.Tensor

    def rows(self, index: torch.Tensor) -> Rollout:
        """A part of the batch."""
        return Rollout(*(getattr(self, f.name)[index] for f in fields(self)))

    @property
    def state_mask(self) -> torch.Tensor:
        """(B, T+1): 1 on the states of each row: one before each token, and one after the last."""
        return torch.cat([torch.ones_like(self.mask[:, :1]), self.mask], 1)

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of prompt and response together, for each row."""
        lengths: list[int] = (self.prompt_mask.sum(1) + self.mask.sum(1)).long().tolist()
        return lengths

    # A device is asked how many tokens there are before it works on them, and once: it would wait for the answer.

    @cached_property
    def states(self) -> tuple[Packed, torch.Tensor]:
        """(prompts and responses packed, indices of the tokens that have a state (see `state_mask`) each)."""
        return self._packed(self.mask)

    @cached_property
    def predicting(self) -> tuple[Packed, torch.Tensor]:
        """As `states`, but without each response's last token, which predicts nothing."""
        return self._packed(torch.cat([self.mask[:, 1:], torch.zeros_like(self.mask[:, :1])], 1))

    @cached_property
    def tokens(self) -> torch.Tensor:
        """(n,) the real tokens of the responses, one response after the other."""
        return self.response_ids[self.mask.bool()]

    @cached_property
    def before_token(self) -> torch.Tensor:
        """Which of the states come before a token: all but the last of each row."""
        packed, states = self.states
        return (states != packed.last[packed.row[states]]).nonzero()[:, 0]

    def _packed(self, mask: torch.Tensor) -> tuple[Packed, torch.Tensor]:
        both = torch.cat([self.prompt_mask, mask.long()], 1)
        packed = Packed.of(torch.cat([self.prompt_ids, self.response_ids], 1), both)
        first = self.prompt_mask.sum(1) - 1
        return packed, (packed.column >= first[packed.row]).nonzero()[:, 0]


def pad_left(prompts: Sequence[Sequence[int]], pad_token_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask), each (B, longest prompt)."""
    width = max(len(p) for p in prompts)
    ids = torch.full((len(prompts), width), pad_token_id)
    mask = torch.zeros((len(prompts), width), dtype=torch.long)
    for i, prompt in enumerate(prompts):
        ids[i, width - len(prompt) :] = torch.tensor(prompt)
        mask[i, width - len(prompt) :] = 1
    return ids, mask


def length_groups(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Indices in groups of at most `size` rows of similar length, so that little of a padded batch is padding."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    return [order[at : at + size] for at in range(0, len(order), size)]


def token_groups(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices in groups of rows of similar length, of about equally many tokens and at most about `budget` of them."""
    total = sum(lengths)
    groups: list[list[int]] = [[] for _ in range(-(-total // budget))]
    before = 0
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        groups[int((before + lengths[i] / 2) * len(groups) / total)].append(i)
        before += lengths[i]
    return [g for g in groups if g]


@torch.no_grad()
def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    pad_token_id: int,
    stop_token_id: int,
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator | torch.Tensor,
    group: int | None = None,
    value_head: Head | None = None,
    share: slice = slice(None),
) -> Rollout:
    """Sample one response for each prompt from softmax(logits / temperature), `group` rows of similar length at a time; as
    many as the device holds if None.

    `generator` lives on the CPU and draws one uniform number per row and token before anything else, so that a seed
    gives the same responses whatever the groups are and whichever rows have ended; or it is these numbers themselves,
    (B, max_new_tokens). Call under autocast for bf16.
    `value_head` maps hidden states (n, d) to values (n,). Rows outside of `share` stay empty, for others to fill.
    """
    model.eval()
    device = transformer(model).device
    if isinstance(generator, torch.Generator):
        generator = torch.rand(len(prompts), max_new_tokens, generator=generator)
    uniform = generator.to(device)
    ids, mask = (t.to(device) for t in pad_left(prompts, pad_token_id))
    zeros = torch.zeros(len(prompts), max_new_tokens + 1, device=device)
    out = Rollout(
        prompt_ids=ids,
        prompt_mask=mask,
        response_ids=torch.full_like(uniform, pad_token_id, dtype=torch.long),
        mask=zeros[:, 1:].clone(),
        logprobs=zeros[:, 1:].clone(),
        entropy=zeros[:, 1:].clone(),
        values=zeros,
        ended=torch.zeros(len(prompts), dtype=torch.bool, device=device),
    )
    own = torch.arange(len(prompts), device=device)[share]
    group = group or rows_at_once(model, ids.shape[1] + max_new_tokens)
    with as_written(model):
        for rows in length_groups([len(p) for p in prompts[share]], group):
            _sample_group(model, out, own[rows], uniform, stop_token_id, temperature, value_head)
    return out


def _sample_group(
    model: Any,
    out: Rollout,
    alive: torch.Tensor,
    uniform: torch.Tensor,
    stop_token_id: int,
    temperature: float,
    value_head: Head | None,
) -> None:
    """Fill the rows `alive` of `out`. A row that has ended goes on for one step, to the value after its last token, and
    then leaves the cache together with others."""
    # A prompt that several responses answer is read once.
    real = out.prompt_mask[alive]
    distinct, of = torch.unique(out.prompt_ids[alive].masked_fill(real == 0, -1), dim=0, return_inverse=True)
    prompts = Packed.of(distinct, (distinct >= 0).long())
    cache = KeyValueCache(prompts, uniform.shape[1])
    hidden = hidden_states(model, prompts.ids, prompts.column, cache, prompts.last)[of]
    decoder = Decoder(model, cache)
    decoder.keep(of)
    weight = transformer(model).get_output_embeddings().weight
    going = torch.ones_like(out.ended[alive])
    for step in range(uniform.shape[1] + 1):
        if value_head is not None:
            out.values[alive, step] = torch.where(going, value_head(hidden), 0.0)
        going = ~out.ended[alive]
        left = int(going.sum()) if step % decoder.steps_between == 0 else len(going)
        if step == uniform.shape[1] or not left:
            return
        logits = torch.nn.functional.linear(hidden, weight).float() / temperature
        tokens = _choose(out, alive, going, step, logits, uniform)
        out.ended[alive] |= going & (tokens == stop_token_id)
        if left < decoder.compact_below * len(going):
            kept = going.nonzero()[:, 0]
            decoder.keep(kept)
            alive, tokens, going = alive[kept], tokens[kept], going[kept]
        if step + 1 == uniform.shape[1] and value_head is None:
            return
        hidden = decoder.step(tokens)


def _choose(
    out: Rollout, alive: torch.Tensor, going: torch.Tensor, step: int, logits: torch.Tensor, uniform: torch.Tensor
) -> torch.Tensor:
    """Draw the token (n,) of each row and write it down where the row still goes: the one whose cumulative probability
    first exceeds the row's uniform number."""
    every = torch.log_softmax(logits, -1)
    probabilities = every.exp()
    cumulative = probabilities.cumsum(-1)
    target = (uniform[alive, step] * cumulative[:, -1])[:, None]
    tokens = torch.searchsorted(cumulative, target, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
    entropy = -(probabilities * every.clamp(min=torch.finfo(every.dtype).min)).sum(-1)
    out.response_ids[alive, step] = torch.where(going, tokens, out.response_ids[alive, step])
    out.mask[alive, step] = going.to(out.mask.dtype)
    out.logprobs[alive, step] = torch.where(going, every.gather(1, tokens[:, None])[:, 0], 0.0)
    out.entropy[alive, step] = torch.where(going, entropy, 0.0)
    return tokens


def response_logprobs(model: Any, rollout: Rollout, temperature: float) -> torch.Tensor:
    """Log-probabilities (B, T) in fp32 of the rollout's responses under `model`, at `temperature`; 0 on padding.

    Logits are made for response positions only, and no row pays for the length of another.
    """
    (packed, states), tokens = rollout.predicting, rollout.tokens

    def work() -> torch.Tensor:
        hidden = hidden_states(model, packed.ids, packed.column, packed, states)
        return _logprobs(model, rollout, hidden, tokens, temperature)

    return within(model, work)


def response_values(model: Any, head: Head, rollout: Rollout) -> torch.Tensor:
    """Values (B, T+1) in fp32 of the rollout's states by `head` on the trunk of `model`; 0 where there is no state."""
    packed, states = rollout.states
    return within(
        model, lambda: _values(head, rollout, hidden_states(model, packed.ids, packed.column, packed, states))
    )


def response_both(model: Any, head: Head, rollout: Rollout, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(log-probabilities (B, T), values (B, T+1)) from one pass, the value head on the trunk of the language model."""
    (packed, states), tokens, before = rollout.states, rollout.tokens, rollout.before_token

    def work() -> tuple[torch.Tensor, torch.Tensor]:
        hidden = hidden_states(model, packed.ids, packed.column, packed, states)
        return _logprobs(model, rollout, hidden[before], tokens, temperature), _values(head, rollout, hidden)

    return within(model, work)


def response_scores(model: Any, head: Head, rollout: Rollout) -> torch.Tensor:
    """Scores (B,) in fp32 by `head` on the trunk of `model`, read at the last real token of each row."""
    packed, _ = rollout.states
    return within(model, lambda: head(hidden_states(model, packed.ids, packed.column, packed, packed.last)))


def _logprobs(
    model: Any, rollout: Rollout, hidden: torch.Tensor, tokens: torch.Tensor, temperature: float
) -> torch.Tensor:
    logprobs = token_logprobs(hidden, transformer(model).get_output_embeddings().weight, tokens, temperature)
    return torch.zeros_like(rollout.logprobs).masked_scatter(rollout.mask.bool(), logprobs)


def _values(head: Head, rollout: Rollout, hidden: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(rollout.values).masked_scatter(rollout.state_mask.bool(), head(hidden))


def score_head(model: Any) -> Head:
    """The `score` head of a reward or value model: values (n,) in fp32 of hidden states (n, d), less its offset; (n, C) of
    C heads apart."""
    core = transformer(model)
    offset = getattr(core.config, "reward_offset", 0.0)

    def head(hidden: torch.Tensor) -> torch.Tensor:
        with torch.autocast(hidden.device.type, enabled=False):  # bf16 would round to three digits
            scores: torch.Tensor = core.score(hidden.float()).squeeze(-1)
        return scores - (scores.new_tensor(offset) if isinstance(offset, list) else float(offset))

    return head
