"""How much a device works on at once: enough to keep it busy, and no more than its memory holds.

Computed from the device's whole memory, not from what is free, so that a device always works in the same parts; the
results do not depend on them but for rounding.
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from tasks.rlhf.packing import transformer

Tokens = int | Literal["auto"]  # a number, or as many as the device holds
CPU_TOKENS, CPU_ROWS = 1024, 64  # more of them do not fit into the caches of a CPU
TRAINING, CACHE = 2, 4  # of a device's memory a half for what a backward pass needs, and a quarter for keys and values
PER_WIDTH = 96  # bytes a token and layer, for each number of a hidden state, that are kept for the backward pass
PER_WORD = 10  # bytes a token, for each word of the vocabulary: logits, and their gradient


def tokens_at_once(model: Any, asked: Tokens) -> int:
    """Tokens of a microbatch in the training of `model` (a language model, on its device)."""
    if asked != "auto":
        return asked
    core = transformer(model)
    if core.device.type != "cuda":
        return CPU_TOKENS
    config = core.config
    each = PER_WIDTH * config.hidden_size * config.num_hidden_layers + PER_WORD * config.vocab_size
    return int(max(CPU_TOKENS, _memory(core.device) // TRAINING // each))


def rows_at_once(model: Any, width: int) -> int:
    """Rows of up to `width` tokens that are sampled together."""
    core = transformer(model)
    if core.device.type != "cuda":
        return CPU_ROWS
    config = core.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    number = 2 if torch.is_autocast_enabled("cuda") else 4
    each = 2 * number * heads * head * config.num_hidden_layers * width
    return int(max(1, _memory(core.device) // CACHE // each))


def _memory(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).total_memory
