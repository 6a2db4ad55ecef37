"""What TRL's trainers ask a language model for, log-probabilities of given tokens, from packed rows on a CPU.

TRL's own head folds tiles of logits into statistics, which a GPU does in one kernel and a CPU in a dozen operations each,
over rows that are padded: half of the time of an SFT there. The losses stay TRL's. Not for several processes, whose wrapper
of the model wants its own way, nor for mixtures of experts, which have a loss of their experts besides.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from tasks.rlhf.packing import Packed, hidden_states, transformer
from tasks.rlhf.precision import Bf16, autocast
from tasks.rlhf.token_logprobs import token_logprobs

IGNORED = -100  # label of a token that is no part of the loss
ROWS = 1024  # of logits at once, where nothing is kept of them


def with_packed_head(trainer: Any, model: Any, bf16: Bf16) -> Any:
    """The model as a TRL trainer is to call it: `packed_head` of it where that is for, else itself."""
    alone = trainer.shared.count == 1 and trainer.args.device.type == "cpu"
    return packed_head(model, bf16) if alone and not trainer.aux_loss_enabled else model


def packed_head(model: Any, bf16: Bf16) -> Callable[..., SimpleNamespace]:
    """A function that TRL can call in the place of the model, with `input_ids`, `attention_mask` and `labels` (B, W). It
    gives, each (B, W − 1), of the tokens after the first: `label_mask`, whether a token has a label and others before it;
    `log_probs`, given all tokens before it, with gradient; and of its distribution `entropy`, `mean_logits` and `is_top1`,
    whether the token is the likeliest. 0 where there is no label."""

    def forward(
        *, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor, **_: Any
    ) -> SimpleNamespace:
        packed = Packed.of(input_ids, attention_mask)
        wanted = (labels[:, 1:] != IGNORED) & (attention_mask[:, :-1] > 0)
        place = attention_mask.flatten().cumsum(0).reshape(attention_mask.shape)[:, :-1] - 1  # of the token before
        tokens, weight = labels[:, 1:][wanted], transformer(model).get_output_embeddings().weight
        with autocast(bf16, input_ids.device):
            hidden = hidden_states(model, packed.ids, packed.column, packed, place[wanted])
            found = {"log_probs": token_logprobs(hidden, weight, tokens, 1.0), **_told(hidden, weight, tokens)}
        each = {name: x.new_zeros(wanted.shape).masked_scatter(wanted, x) for name, x in found.items()}
        return SimpleNamespace(label_mask=wanted, **each)

    return forward


@torch.no_grad()
def _told(hidden: torch.Tensor, weight: torch.Tensor, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """What TRL logs of each token's distribution, (n,)."""
    found: dict[str, list[torch.Tensor]] = {"entropy": [], "mean_logits": [], "is_top1": []}
    for rows, its in zip(torch.split(hidden, ROWS), torch.split(tokens, ROWS), strict=True):
        logits = torch.nn.functional.linear(rows, weight).float()
        logprobs = logits.log_softmax(-1)
        found["entropy"].append(-(logprobs.exp() * logprobs).sum(-1))
        found["mean_logits"].append(logits.mean(-1))
        found["is_top1"].append(logits.argmax(-1) == its)
    return {name: torch.cat(parts) for name, parts in found.items()}
