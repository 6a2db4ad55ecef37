"""Log-probabilities of several continuations of one context, the context read once.

All tokens of a question lie in one row: the context, then each continuation as a branch. A branch sees the context and
itself; its positions go on from the end of the context. So C answers to a question of T tokens cost T + ΣL tokens and not
C·T + ΣL, and the result is that of reading each (context, continuation) alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tasks.rlhf.cores import on_every_core
from tasks.rlhf.length_effect import less_length
from tasks.rlhf.packing import Packed, grid_attention, hidden_states, layer_states, transformer
from tasks.rlhf.rollout import Head, score_head, token_groups
from tasks.rlhf.token_logprobs import token_logprobs
from tasks.rlhf.welfare import combined

Item = tuple[Sequence[int], Sequence[Sequence[int]]]  # (context, continuations), none of them empty
WIDTH = 512  # tokens of a context with its branches
BUDGET = 2048  # tokens at once: more of them do not fit into the caches of a CPU


@dataclass(frozen=True)
class Branched:
    """B rows of a context and its branches. `packed` holds the tokens; `positions` (N,): place in the text that a token
    belongs to; `branch` (B, W): 0 on the context, 1, 2, … on branches, −1 on padding."""

    packed: Packed
    positions: torch.Tensor
    branch: torch.Tensor

    @classmethod
    def of(cls, items: Sequence[Item], device: torch.device) -> Branched:
        """Lay out items; the last token of a continuation is only predicted, never read."""
        rows, places, branches = [], [], []
        for context, continuations in items:
            ids, place, of = list(context), list(range(len(context))), [0] * len(context)
            for number, continuation in enumerate(continuations, start=1):
                ids += continuation[:-1]
                place += range(len(context), len(context) + len(continuation) - 1)
                of += [number] * (len(continuation) - 1)
            rows.append(torch.tensor(ids))
            places.append(torch.tensor(place))
            branches.append(torch.tensor(of))
        pad = torch.nn.utils.rnn.pad_sequence
        branch = pad(branches, batch_first=True, padding_value=-1).to(device)
        packed = Packed.of(pad(rows, batch_first=True).to(device), (branch >= 0).long())
        return cls(packed, torch.cat(places).to(device), branch)

    def attend(
        self, module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        """Causal attention inside each branch and over its context."""
        groups = q.shape[1] // k.shape[1]
        k, v = (x.repeat_interleave(groups, 1) if groups > 1 else x for x in (k, v))
        queries, keys, values = (self.packed.grid(x) for x in (q, k, v))
        out = grid_attention(queries, keys, values, self._mask(window)[:, None], scale)
        return out[self.packed.row, self.packed.column]

    def _mask(self, window: int | None) -> torch.Tensor:
        """(B, W, W) bool: which token sees which. Padding sees the first token, so that no row of scores is empty."""
        own, other = self.branch[:, :, None], self.branch[:, None, :]
        width = self.packed.width
        earlier = torch.ones(width, width, dtype=torch.bool, device=self.branch.device).tril()
        seen = earlier & ((other == 0) | (other == own))
        if window is not None:
            place = torch.zeros_like(self.branch)
            place[self.packed.row, self.packed.column] = self.positions
            seen &= place[:, :, None] - place[:, None, :] < window
        seen[:, :, 0] |= self.branch < 0
        return seen


@torch.no_grad()
def continuation_logprobs(
    model: Any, items: Sequence[Item], advance: Callable[[int], object] | None = None, budget: int = BUDGET
) -> list[list[float]]:
    """For each item Σ log π(token | context, tokens before) of each continuation, in fp32; in batches of like length."""
    lengths = [len(context) + sum(len(c) for c in continuations) for context, continuations in items]
    found: list[list[float]] = [[] for _ in items]
    groups = token_groups(lengths, budget) if items else []
    measured = on_every_core(model, groups, lambda own, group: _batch(own, [items[i] for i in group]))
    for group, sums in zip(groups, measured, strict=True):
        for i, of_item in zip(group, sums, strict=True):
            found[i] = of_item
        if advance:
            advance(len(group))
    return found


@torch.no_grad()
def conversation_scores(
    model: Any,
    head: Head,
    rows: Sequence[Sequence[int]],
    advance: Callable[[int], object] | None = None,
    budget: int = BUDGET,
) -> torch.Tensor:
    """Scores (N,) in fp32 by `head` at the last token of each conversation (token ids), (N, C) of a head of C; what
    conversations begin with in common, such as the prompt of several answers, is read once. `advance` is told how many rows
    were scored."""
    return _of_each(model, rows, lambda own, items: _scores(own, head, items), advance, budget)


@torch.no_grad()
def conversation_states(model: Any, rows: Sequence[Sequence[int]], budget: int = BUDGET) -> torch.Tensor:
    """Hidden states (N, L, d) in fp32 at the last token of each conversation (token ids), of every layer: embeddings first,
    the last one normalised. What conversations begin with in common is read once."""

    def states(own: Any, items: Sequence[Item]) -> torch.Tensor:
        layout = Branched.of(items, transformer(own).device)
        last = torch.tensor(_ends(items), device=layout.positions.device)
        layers = layer_states(own, layout.packed.ids, layout.positions, layout)
        return torch.stack([layer[last] for layer in layers], dim=1)

    return _of_each(model, rows, states, None, budget)


def _of_each(
    model: Any,
    rows: Sequence[Sequence[int]],
    measure: Callable[[Any, list[Item]], torch.Tensor],
    advance: Callable[[int], object] | None,
    budget: int,
) -> torch.Tensor:
    """What `measure(model, items)` finds (n, …) at the end of each continuation of some items, for all rows, in fp32."""
    groups = shared_prefixes(rows)
    items = [_item(rows, group) for group in groups]
    every: torch.Tensor | None = None
    batches = token_groups([len(c) + sum(len(r) - 1 for r in rest) for c, rest in items], budget)
    of_batches = on_every_core(model, batches, lambda own, batch: measure(own, [items[i] for i in batch]))
    for batch, some in zip(batches, of_batches, strict=True):
        measured, found = [i for g in batch for i in groups[g][0]], some.float().cpu()
        if every is None:
            every = found.new_zeros(len(rows), *found.shape[1:])
        every[measured] = found
        if advance:
            advance(len(measured))
    return torch.zeros(0) if every is None else every


def scores_at_once(model: Any, head: Head, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """As `conversation_scores`, in one pass and with its gradient."""
    groups = shared_prefixes(rows)
    order = torch.tensor([i for members, _ in groups for i in members])
    return _scores(model, head, [_item(rows, group) for group in groups])[order.argsort()]


def _item(rows: Sequence[Sequence[int]], group: tuple[list[int], int]) -> Item:
    members, shared = group
    return rows[members[0]][:shared], [[*rows[i][shared:], 0] for i in members]  # 0: is never read


def _scores(model: Any, head: Head, items: Sequence[Item]) -> torch.Tensor:
    """What `head` says at the end of every continuation."""
    layout = Branched.of(items, transformer(model).device)
    keep, place = torch.unique(torch.tensor(_ends(items), device=layout.positions.device), return_inverse=True)
    return head(hidden_states(model, layout.packed.ids, layout.positions, layout, keep)[place])


def _ends(items: Sequence[Item]) -> list[int]:
    """Index among all tokens of the last one that is read of every continuation; that of its context where none is."""
    last: list[int] = []
    at = 0
    for context, continuations in items:
        end = at + len(context)
        for continuation in continuations:
            last.append(end + len(continuation) - 2 if len(continuation) > 1 else at + len(context) - 1)
            end += len(continuation) - 1
        at = end
    return last


def answer_scores(
    model: Any,
    rows: Sequence[Sequence[int]],
    lengths: Sequence[float] | torch.Tensor | None,
    advance: Callable[[int], object] | None = None,
) -> torch.Tensor:
    """What a reward model says of conversations (N,), in fp32, less its length effect, if any; (N, C) of C heads apart.
    `lengths` (N,): tokens of the responses in them, which a model with a length effect asks for. `advance` is told how many rows were scored."""
    scores = less_length(conversation_scores(model, score_head(model), rows, advance), model.config, lengths)
    return combined(scores, model.config)


def shared_prefixes(rows: Sequence[Sequence[int]], width: int = WIDTH) -> list[tuple[list[int], int]]:
    """(indices, tokens that these rows begin with in common) of every row in groups that spare the most tokens, as far as
    going through the rows in order shows it; a group is at most `width` tokens wide, as attention is quadratic in it."""
    groups: list[tuple[list[int], int]] = []
    for i in sorted(range(len(rows)), key=lambda i: (list(rows[i]), i)):
        row = rows[i]
        if groups:
            members, shared = groups[-1]
            common = min(shared, _common(rows[members[0]], row))
            new_width = common + sum(len(rows[m]) - common for m in [*members, i])
            if common and len(members) * common > (len(members) - 1) * shared and new_width <= width:
                groups[-1] = ([*members, i], common)
                continue
        groups.append(([i], len(row)))
    return groups


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Tokens that both begin with."""
    return next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _batch(model: Any, items: Sequence[Item]) -> list[list[float]]:
    core = transformer(model)
    layout = Branched.of(items, core.device)
    states: list[int] = []  # of every predicted token: the token before it
    targets: list[int] = []
    owners: list[int] = []
    for start, (context, continuations) in zip(layout.packed.offsets[:-1].tolist(), items, strict=True):
        last, at = start + len(context) - 1, start + len(context)
        for continuation in continuations:
            states += [last, *range(at, at + len(continuation) - 1)]
            owners += [owners[-1] + 1 if owners else 0] * len(continuation)
            targets += continuation
            at += len(continuation) - 1
    keep, place = torch.unique(torch.tensor(states, device=core.device), return_inverse=True)
    hidden = hidden_states(core, layout.packed.ids, layout.positions, layout, keep)[place]
    weight = core.get_output_embeddings().weight
    every = token_logprobs(hidden, weight, torch.tensor(targets, device=core.device), 1.0).double().cpu()
    sums = torch.zeros(owners[-1] + 1, dtype=torch.float64).index_add(0, torch.tensor(owners), every).tolist()
    taken = iter(sums)
    return [[next(taken) for _ in continuations] for _, continuations in items]
