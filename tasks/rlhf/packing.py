"""Rows of different lengths through a transformers model without padding: all tokens lie end to end in one row.

Everything that works on tokens one by one (embedding, norms, projections, MLP) sees real tokens only. Attention is the
only part in which tokens meet; transformers lets it be replaced by name, and hands what the caller passed to the model
down to it: here a layout, which knows which token belongs to which row. Models whose tokens meet elsewhere, too
(convolutions, recurrences), cannot be packed: `check_packing` finds that out by comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from tasks.rlhf.precision import spare_rows

NAME = "packed"


class CannotPack(Exception):
    """A model gives packed rows other logits than it gives them alone."""


class Layout(Protocol):
    """How the tokens of one forward pass belong to rows."""

    def attend(
        self, module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        """Attention (N, heads, d) of the queries (N, heads, d) over the keys and values (N, kv heads, d) of the attention
        `module` of a layer."""
        ...


def _attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any, **options: Any
) -> tuple[torch.Tensor, None]:
    """What transformers calls in every layer. `query`, `key`, `value`: (1, heads, N, d), of which the first `tokens` are
    real."""
    tokens = options["tokens"]
    q, k, v = (x[0].transpose(0, 1)[:tokens] for x in (query, key, value))
    scale, window = options.get("scaling") or q.shape[-1] ** -0.5, options.get("sliding_window")
    out = options["layout"].attend(module, q.to(v.dtype), k.to(v.dtype), v, scale, window)
    if spare := query.shape[2] - tokens:
        out = torch.nn.functional.pad(out, (0, 0, 0, 0, 0, spare))
    return out[None], None


AttentionInterface.register(NAME, _attention)


@dataclass(frozen=True)
class Packed:
    """B rows laid end to end. `ids`, `row`, `column` (N,): token, its row, its place in it; `lengths` (B,); `offsets`
    (B+1,): where rows begin and end, in 32 bits, as kernels for rows of different lengths want it; `width` of the longest."""

    ids: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor
    lengths: torch.Tensor
    offsets: torch.Tensor
    width: int

    @classmethod
    def of(cls, ids: torch.Tensor, mask: torch.Tensor) -> Packed:
        """Pack the real tokens of `ids` (B, W), wherever in the row the padding is. `mask` (B, W): 1 on real tokens."""
        lengths = mask.sum(1)
        row = torch.repeat_interleave(torch.arange(len(ids), device=ids.device), lengths)
        offsets = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
        column = torch.arange(len(row), device=ids.device) - offsets[row]
        return cls(ids[mask.bool()], row, column, lengths, offsets.int(), int(lengths.max()))

    @property
    def last(self) -> torch.Tensor:
        """(B,) index of each row's last token."""
        return self.lengths.cumsum(0) - 1

    def grid(self, x: torch.Tensor) -> torch.Tensor:
        """(N, heads, d) as (B, heads, width, d), zero where there is no token."""
        shape = (len(self.lengths), self.width, *x.shape[1:])
        if len(x) == shape[0] * shape[1]:
            return x.reshape(shape).transpose(1, 2)
        return x.new_zeros(shape).index_put((self.row, self.column), x).transpose(1, 2)

    def attend(
        self, module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        """Causal attention inside each row. Padding in the grid comes after the tokens, so that none of them sees it."""
        groups = q.shape[1] // k.shape[1]
        k, v = (x.repeat_interleave(groups, 1) if groups > 1 else x for x in (k, v))
        if _flash(q):
            from torch.nn.attention.varlen import varlen_attn

            ends, seen = self.offsets, (-1 if window is None else window - 1, 0)
            out = varlen_attn(q, k, v, ends, ends, self.width, self.width, scale=scale, window_size=seen)
            assert isinstance(out, torch.Tensor)
            return out
        mask = None
        if window is not None and self.width > window:
            distance = torch.arange(self.width, device=q.device)[:, None] - torch.arange(self.width, device=q.device)
            mask = (distance >= 0) & (distance < window)
        queries, keys, values = (self.grid(x) for x in (q, k, v))
        out = grid_attention(queries, keys, values, mask, scale)
        return out.reshape(q.shape) if len(q) == out.shape[0] * self.width else out[self.row, self.column]


def grid_attention(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """Attention of queries, keys and values (B, heads, W, d), causal without a `mask`, as (B, W, heads, d). On a CPU in
    fp32: its kernel takes more than twice as long in bf16, most of it in the backward pass."""
    dtype, device = queries.dtype, queries.device.type
    if device == "cpu":
        queries, keys, values = (x.float() for x in (queries, keys, values))
    with torch.autocast(device, enabled=False):
        out = scaled_dot_product_attention(queries, keys, values, attn_mask=mask, is_causal=mask is None, scale=scale)
    return out.transpose(1, 2).to(dtype)


def _flash(q: torch.Tensor) -> bool:
    """Whether torch has a kernel for rows of different lengths, which needs no grid, for such queries (N, heads, d)."""
    return q.is_cuda and q.dtype in (torch.bfloat16, torch.float16) and q.shape[2] % 8 == 0 and q.shape[2] <= 256


class KeyValueCache:
    """Keys and values of rows that grow by a token a step, each kept at its place in the row.

    `positions` (n,): place of the token that each of the n rows gets in this step.
    """

    def __init__(self, prompts: Packed, limit: int) -> None:
        """For rows that begin with `prompts` and get at most `limit` tokens more."""
        self._prompts: Packed | None = prompts
        self.size = prompts.width + limit
        self._keys: dict[int, torch.Tensor] = {}
        self._values: dict[int, torch.Tensor] = {}
        self.positions = prompts.lengths - 1
        self.used = prompts.width  # tokens of the longest row
        self._seen: torch.Tensor

    def advance(self) -> None:
        """Go on to the next token of every row."""
        self.used += 1
        self.place(self.used)

    def place(self, width: int) -> None:
        """What `advance` does on the device, in place: attention then goes over `width` places of each row."""
        self._prompts = None
        self.positions.add_(1)
        self._width = width
        self._seen = torch.arange(width, device=self.positions.device) <= self.positions[:, None]

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with the rows at the indices `rows`, which may name one several times."""
        self.positions = self.positions[rows]
        self.used = int(self.positions.max()) + 1
        for held in (self._keys, self._values):
            for layer in held:
                held[layer] = held[layer][rows]

    def attend(
        self, module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        """Store keys and values; attention of the prompts' tokens, or of one token a row over what is stored."""
        layer = module.layer_idx
        if (prompts := self._prompts) is not None:
            for held, x in ((self._keys, k), (self._values, v)):
                held[layer] = x.new_zeros(len(prompts.lengths), x.shape[1], self.size, x.shape[2])
                held[layer][prompts.row, :, prompts.column] = x
            return prompts.attend(module, q, k, v, scale, window)
        rows = torch.arange(len(q), device=q.device)
        self._keys[layer][rows, :, self.positions] = k
        self._values[layer][rows, :, self.positions] = v
        seen = self._seen
        if window is not None and self._width > window:
            seen = seen & (torch.arange(self._width, device=q.device) > self.positions[:, None] - window)
        keys, values = (held[layer][:, :, : self._width] for held in (self._keys, self._values))
        grouped = q.reshape(len(q), k.shape[1], -1, q.shape[2])  # queries that share a key stand side by side
        out = scaled_dot_product_attention(grouped, keys, values, attn_mask=seen[:, None, None], scale=scale)
        return out.reshape(q.shape)


def transformer(model: Any) -> Any:
    """The transformers model inside an adapter wrapper, adapters in place; the model itself if there is none."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def hidden_states(
    model: Any, ids: torch.Tensor, positions: torch.Tensor, layout: Layout, keep: torch.Tensor | None = None
) -> torch.Tensor:
    """Final hidden states (N, d) of the tokens `ids` at `positions` (N,) of their rows; with `keep` only of the tokens
    at these indices, for which alone the last layer's MLP then works."""
    body = transformer(model).base_model
    tokens, spare = len(ids), spare_rows(len(ids), ids.device)
    if spare:
        ids, positions = (torch.nn.functional.pad(x, (0, spare)) for x in (ids, positions))
    worked = keep
    if keep is not None and spare:  # the last of the spare tokens fills up what is kept, too
        worked = torch.nn.functional.pad(keep, (0, spare_rows(len(keep), ids.device)), value=len(ids) - 1)
    with _named(body), _only(body, worked):
        hidden = body(
            input_ids=ids[None], position_ids=positions[None], use_cache=False, layout=layout, tokens=tokens
        ).last_hidden_state[0]
    return hidden[:tokens] if keep is None else hidden[keep]


def layer_states(model: Any, ids: torch.Tensor, positions: torch.Tensor, layout: Layout) -> tuple[torch.Tensor, ...]:
    """Hidden states (N, d) of the tokens `ids` at `positions` (N,) of their rows in every layer: embeddings first, the last
    one normalised."""
    body = transformer(model).base_model
    with _named(body):
        layers = body(
            input_ids=ids[None],
            position_ids=positions[None],
            use_cache=False,
            layout=layout,
            tokens=len(ids),
            output_hidden_states=True,
        ).hidden_states
    return tuple(layer[0] for layer in layers)


@contextmanager
def _named(body: Any) -> Iterator[None]:
    """Have transformers take the attention of this module."""
    before = body.config._attn_implementation
    body.config._attn_implementation = NAME
    try:
        yield
    finally:
        body.config._attn_implementation = before


@contextmanager
def _only(body: Any, keep: torch.Tensor | None) -> Iterator[None]:
    """Nothing after the last layer's MLP reads another token than those at `keep`: spare it the others."""
    last = getattr(body, "layers", [None])[-1]
    mlp = getattr(last, "mlp", None)
    with ExitStack() as hooks:
        if keep is not None and isinstance(mlp, torch.nn.Module):

            def choose(_: Any, inputs: tuple[torch.Tensor]) -> torch.Tensor:
                sizes.append(inputs[0].shape[1])
                return inputs[0][:, keep]

            def spread(_: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
                return output.new_zeros(1, sizes[0], output.shape[2]).index_copy(1, keep, output)

            sizes: list[int] = []
            for handle in (mlp.register_forward_pre_hook(choose), mlp.register_forward_hook(spread)):
                hooks.callback(handle.remove)
        yield


@torch.no_grad()
def check_packing(model: Any, prompts: Sequence[Sequence[int]]) -> None:
    """Compare packed rows with each row alone, read the ordinary way. Raises CannotPack if the logits differ, or the model
    does not let its attention be replaced."""
    core = transformer(model)
    rows = [torch.tensor(p[:32]) for p in prompts[:3]]
    lengths = torch.tensor([len(r) for r in rows])
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(core.device)
    packed = Packed.of(ids, (torch.arange(ids.shape[1]) < lengths[:, None]).long().to(core.device))
    try:
        together = hidden_states(core, packed.ids, packed.column, packed) @ core.get_output_embeddings().weight.T
    except (TypeError, KeyError, AttributeError) as error:  # how models fail that are written without it
        raise CannotPack(f"the attention of {type(core).__name__} cannot be replaced") from error
    for row, logits in zip(rows, together.split(lengths.tolist()), strict=True):
        alone = core(input_ids=row[None].to(core.device), use_cache=False).logits[0]
        if not torch.allclose(logits, alone, rtol=1e-3, atol=1e-3 * float(alone.abs().max())):
            raise CannotPack(f"rows of {type(core).__name__} cannot be packed: it gives them other logits than alone")
