"""Log-probabilities of given tokens from hidden states, with one matrix of logits in memory and not four.

log π(x|h) = z_x − log Σ_v exp z_v, with z = W h / T. Its gradient towards z is onehot(x) − softmax(z): the logits that
the forward pass kept are turned into it.
"""

from __future__ import annotations

from typing import Any

import torch

from tasks.rlhf.compiled import fused
from tasks.rlhf.precision import spare_rows


@fused
def _normaliser(logits: torch.Tensor) -> torch.Tensor:
    """log Σ exp of each row (n,), in fp32."""
    return torch.logsumexp(logits.float(), -1)


@fused
def _slope(logits: torch.Tensor, normaliser: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """−gradient · softmax(logits), (n, V), in the precision of the logits, which may be overwritten."""
    return logits.float().sub_(normaliser[:, None]).exp_().mul_(-gradient[:, None]).to(logits.dtype)


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, tokens: torch.Tensor, temperature: float
    ) -> torch.Tensor:
        device, spare = hidden.device.type, spare_rows(len(hidden), hidden.device)
        scaled = hidden / temperature
        if spare:
            scaled = torch.nn.functional.pad(scaled, (0, 0, 0, spare))
        if torch.is_autocast_enabled(device):
            scaled, weight = (x.to(torch.get_autocast_dtype(device)) for x in (scaled, weight))
        with torch.autocast(device, enabled=False):
            logits = torch.nn.functional.linear(scaled, weight.to(scaled.dtype))
        normaliser, rows = _normaliser(logits), len(tokens)
        logprobs = logits[:rows].gather(1, tokens[:, None])[:, 0].float() - normaliser[:rows]
        ctx.save_for_backward(scaled, weight, tokens, normaliser, logprobs)
        ctx.logits, ctx.temperature, ctx.dtypes = logits, temperature, (hidden.dtype, weight.dtype)
        return logprobs

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        scaled, weight, tokens, normaliser, logprobs = ctx.saved_tensors
        rows = len(tokens)  # those after them are spare, and have no gradient
        own = -torch.expm1(logprobs) * gradient  # of the tokens themselves: 1 − their probability
        if len(scaled) > rows:
            gradient = torch.nn.functional.pad(gradient, (0, len(scaled) - rows))
        slope = _slope(ctx.logits, normaliser, gradient)
        ctx.logits = None
        slope[:rows].scatter_(1, tokens[:, None], own[:, None].to(slope.dtype))
        slope = slope.to(scaled.dtype)
        to_hidden = (slope @ weight.to(slope.dtype))[:rows].to(ctx.dtypes[0]) / ctx.temperature
        to_weight = (slope.T @ scaled).float() if ctx.needs_input_grad[1] else None
        return to_hidden, to_weight, None, None


def token_logprobs(
    hidden: torch.Tensor, weight: torch.Tensor, tokens: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Log-probabilities (n,) in fp32 of `tokens` (n,) under softmax(hidden · weightᵀ / temperature).

    `hidden` (n, d), `weight` (V, d). The gradient can be taken once.
    """
    logprobs: torch.Tensor = _TokenLogprobs.apply(hidden, weight, tokens, temperature)  # type: ignore[no-untyped-call]
    return logprobs
