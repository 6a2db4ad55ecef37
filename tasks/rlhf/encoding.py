"""Conversations as token ids: rendered by the model's chat template, cut so that what matters survives.

Rendering and tokenising are apart, so that one batch is one call of the tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = Sequence[Mapping[str, str]]


def encode_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Messages], max_tokens: int) -> list[list[int]]:
    """Token ids of prompts that end with the generation prompt, each at most `max_tokens` long.

    Of a longer one the oldest turns are dropped first; if the last turn alone is too long, its beginning is.
    """
    return [_fit(tokenizer, list(p), max_tokens) for p in prompts]


def _fit(tokenizer: PreTrainedTokenizerBase, prompt: list[Mapping[str, str]], max_tokens: int) -> list[int]:
    while True:
        text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) <= max_tokens:
            return ids
        first = 1 if prompt[0]["role"] == "system" else 0
        drop = 2 if len(prompt) - first > 2 else 0  # a user turn and its answer
        if not drop:
            return ids[-max_tokens:]
        prompt = prompt[:first] + prompt[first + drop :]


def encode_response(tokenizer: PreTrainedTokenizerBase, content: str, stop_id: int, max_tokens: int) -> list[int]:
    """Token ids of an answer and the token that ends it, which is kept when the answer is cut."""
    ids: list[int] = tokenizer(content.strip(), add_special_tokens=False)["input_ids"]
    return [*ids[: max_tokens - 1], stop_id]


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Messages],
    answers: Sequence[Messages],
    stop_id: int,
    max_tokens: int,
) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, response ids) of conversations; together at most `max_tokens`, the response at most half of it
    unless the prompt leaves more."""
    pairs = []
    for prompt, answer in zip(prompts, answers, strict=True):
        response = encode_response(tokenizer, answer[-1]["content"], stop_id, max_tokens)
        room = max(max_tokens - len(response), max_tokens // 2)
        prompt_ids = encode_prompts(tokenizer, [prompt], room)[0]
        if len(prompt_ids) + len(response) > max_tokens:
            response = [*response[: max_tokens - len(prompt_ids) - 1], stop_id]
        pairs.append((prompt_ids, response))
    return pairs


def encode_preferences(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Messages],
    chosen: Sequence[Messages],
    rejected: Sequence[Messages],
    stop_id: int,
    max_tokens: int,
) -> list[tuple[list[int], list[int], list[int]]]:
    """(prompt ids, chosen ids, rejected ids): both answers follow the same prompt, which is cut to leave room for the
    longer one; with either at most `max_tokens`, an answer at most half of it unless the prompt leaves more."""
    rows = []
    for prompt, *answers in zip(prompts, chosen, rejected, strict=True):
        responses = [encode_response(tokenizer, a[-1]["content"], stop_id, max_tokens) for a in answers]
        room = max(max_tokens - max(len(r) for r in responses), max_tokens // 2)
        prompt_ids = encode_prompts(tokenizer, [prompt], room)[0]
        left = max_tokens - len(prompt_ids)
        first, second = (r if len(r) <= left else [*r[: left - 1], stop_id] for r in responses)
        rows.append((prompt_ids, first, second))
    return rows


def stop_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Token that ends an assistant's turn in the chat template; EOS where the template adds none."""
    turn = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    opened = tokenizer.apply_chat_template(turn[:1], tokenize=False, add_generation_prompt=True)
    closed = tokenizer.apply_chat_template(turn, tokenize=False)
    tail = closed[len(opened) :].lstrip().removeprefix("b") if closed.startswith(opened) else ""
    ids: list[int] = tokenizer(tail, add_special_tokens=False)["input_ids"] if tail.strip() else []
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    return next((i for i in ids if i in special), int(tokenizer.eos_token_id))
