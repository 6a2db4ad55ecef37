"""Conversations as token ids: rendered by the model's chat template, cut so that what matters survives.

Rendering and tokenising are apart, so that one batch is one call of the tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = Sequence[Mapping[str, str]]


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Messages], max_tokens: int | Sequence[int]
) -> list[list[int]]:
    """Token ids of prompts that end with the generation prompt, each at most `max_tokens` long, which may be another number
    for each.

    Of a longer one the oldest turns are dropped first; if the last turn alone is too long, its beginning is.
    """
    limits = [max_tokens] * len(prompts) if isinstance(max_tokens, int) else max_tokens
    whole = _token_ids(tokenizer, [_rendered(tokenizer, p) for p in prompts])
    return [
        ids if len(ids) <= limit else _cut(tokenizer, list(prompt), ids, limit)
        for prompt, ids, limit in zip(prompts, whole, limits, strict=True)
    ]


def _rendered(tokenizer: PreTrainedTokenizerBase, prompt: Messages) -> str:
    return str(tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True))


def _token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """In one call, each different text once."""
    different = list(dict.fromkeys(texts))
    if not different:
        return []
    found = dict(zip(different, tokenizer(different, add_special_tokens=False)["input_ids"], strict=True))
    return [list(found[text]) for text in texts]


def _cut(
    tokenizer: PreTrainedTokenizerBase, prompt: list[Mapping[str, str]], ids: list[int], max_tokens: int
) -> list[int]:
    while len(ids) > max_tokens:
        first = 1 if prompt[0]["role"] == "system" else 0
        drop = 2 if len(prompt) - first > 2 else 0  # a user turn and its answer
        if not drop:
            return ids[-max_tokens:]
        prompt = prompt[:first] + prompt[first + drop :]
        ids = _token_ids(tokenizer, [_rendered(tokenizer, prompt)])[0]
    return ids


def encode_responses(
    tokenizer: PreTrainedTokenizerBase, answers: Sequence[Messages], stop_id: int, max_tokens: int
) -> list[list[int]]:
    """Token ids of each answer's last message and the token that ends it, which is kept when the answer is cut."""
    found = _token_ids(tokenizer, [answer[-1]["content"].strip() for answer in answers])
    return [[*ids[: max_tokens - 1], stop_id] for ids in found]


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Messages],
    answers: Sequence[Messages],
    stop_id: int,
    max_tokens: int,
) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, response ids) of conversations; together at most `max_tokens`, the response at most half of it
    unless the prompt leaves more."""
    responses = encode_responses(tokenizer, answers, stop_id, max_tokens)
    rooms = [max(max_tokens - len(response), max_tokens // 2) for response in responses]
    return [
        (prompt, _ended(response, max_tokens - len(prompt), stop_id))
        for prompt, response in zip(encode_prompts(tokenizer, prompts, rooms), responses, strict=True)
    ]


def _ended(response: list[int], room: int, stop_id: int) -> list[int]:
    """A response that fits, and ends with the token that ends it."""
    return response if len(response) <= room else [*response[: room - 1], stop_id]


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
    responses = list(
        zip(*(encode_responses(tokenizer, a, stop_id, max_tokens) for a in (chosen, rejected)), strict=True)
    )
    rooms = [max(max_tokens - max(len(r) for r in both), max_tokens // 2) for both in responses]
    rows = []
    for prompt, both in zip(encode_prompts(tokenizer, prompts, rooms), responses, strict=True):
        first, second = (_ended(r, max_tokens - len(prompt), stop_id) for r in both)
        rows.append((prompt, first, second))
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
