"""How probable a model finds each of a few short answers: which choice it prefers, without sampling one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from tasks.rlhf.encoding import Messages, encode_prompts
from tasks.rlhf.packing import Packed, hidden_states, transformer
from tasks.rlhf.rollout import pad_left, token_groups

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENS = 8192  # about so many are in memory at once


@torch.no_grad()
def choice_logprobs(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Messages],
    choices: Sequence[str],
    max_tokens: int,
) -> torch.Tensor:
    """Log-probabilities (n, C), in fp32, that the answer to each question begins with each choice. Of a question longer than
    `max_tokens` the beginning is left out.

    Choices that share their first tokens are told apart by the first one in which they differ; that token is read, after
    those that are shared. Source: Bai et al. (2022), "Constitutional AI", section 4.1.
    """
    shared, first = choice_tokens(tokenizer, choices)
    rows = [ids + shared for ids in encode_prompts(tokenizer, questions, max_tokens)]
    found = torch.zeros(len(rows), len(choices))
    model.eval()
    weight = transformer(model).get_output_embeddings().weight
    device = transformer(model).device
    for group in token_groups([len(r) for r in rows], TOKENS):
        ids, mask = (t.to(device) for t in pad_left([rows[i] for i in group], 0))
        packed = Packed.of(ids, mask)
        hidden = hidden_states(model, packed.ids, packed.column, packed, packed.last)
        logprobs = torch.nn.functional.linear(hidden, weight).float().log_softmax(-1)
        found[group] = logprobs[:, first].cpu()
    return found


def choice_tokens(tokenizer: PreTrainedTokenizerBase, choices: Sequence[str]) -> tuple[list[int], list[int]]:
    """(tokens that every choice begins with, the next token of each). Raises ValueError where two choices are told apart by
    none."""
    ids = [tokenizer(choice, add_special_tokens=False)["input_ids"] for choice in choices]
    at = 0
    while len({tuple(row[: at + 1]) for row in ids}) == 1 and at < min(map(len, ids)):
        at += 1
    first = [row[at] for row in ids if len(row) > at]
    if len(set(first)) < len(choices):
        raise ValueError(f"the tokenizer does not tell {', '.join(choices)} apart by one token")
    return list(ids[0][:at]), first
