"""Responses of one model to the evaluation prompts: the same prompts, seeds and limits for every model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tasks.progress import bar
from tasks.rlhf.cores import on_every_core
from tasks.rlhf.encoding import stop_token_id
from tasks.rlhf.models import load_causal_lm, load_tokenizer
from tasks.rlhf.rollout import Rollout, length_groups, response_logprobs, sample

BATCH = 64


@dataclass(frozen=True)
class Responses:
    """Sampled responses, prompt after prompt, `samples` of each: rows p·samples … p·samples + samples − 1 are of p.

    `ids`: conversation token ids; `lengths`, `kl`: (N,) tokens, and Σ log π − log π_ref over the response where a
    reference was given; `ended`: whether the end token came; `texts`: decoded responses.
    """

    ids: list[list[int]]
    texts: list[str]
    lengths: torch.Tensor
    ended: torch.Tensor
    kl: torch.Tensor | None


def respond(
    folder: Path,
    prompts: list[list[int]],
    *,
    samples: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    reference: Path | None = None,
) -> Responses:
    """Sample `samples` responses to each prompt; with `reference`, also their KL, at the sampling temperature."""
    tokenizer, model = load_tokenizer(folder), load_causal_lm(folder).eval()
    other = load_causal_lm(reference).eval() if reference else None
    stop = stop_token_id(tokenizer)
    rows = [p for p in prompts for _ in range(samples)]
    chunks = length_groups([len(row) for row in rows], BATCH)
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.rand(len(chunk), max_new_tokens, generator=generator) for chunk in chunks]

    def sampled(own: Any, number: int) -> Rollout:
        return sample(
            own,
            [rows[i] for i in chunks[number]],
            pad_token_id=tokenizer.pad_token_id,
            stop_token_id=stop,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            generator=drawn[number],
        )

    rollouts, kls = [], [torch.zeros(len(chunk)) for chunk in chunks]
    with bar(len(chunks), f"respond: {folder.name}", "batch") as progress:
        for rollout in on_every_core(model, range(len(chunks)), sampled):
            rollouts.append(rollout)
            progress.update()
    if other is not None:
        with bar(len(chunks), f"KL: {folder.name}", "batch") as progress:
            for number, kl in enumerate(on_every_core(other, rollouts, lambda own, r: _kl(r, own, temperature))):
                kls[number] = kl
                progress.update()
    parts: dict[int, tuple[list[int], str, int, bool, float]] = {}
    for chunk, rollout, kl in zip(chunks, rollouts, kls, strict=True):
        for k, i in enumerate(chunk):
            answer = rollout.response_ids[k][rollout.mask[k].bool()].tolist()
            text = tokenizer.decode(answer, skip_special_tokens=True).strip()
            parts[i] = (rows[i] + answer, text, len(answer), bool(rollout.ended[k]), float(kl[k]))
    ids, texts, lengths, ended, of_each = zip(*(parts[i] for i in range(len(rows))), strict=True)
    return Responses(
        list(ids),
        list(texts),
        torch.tensor(lengths, dtype=torch.float64),
        torch.tensor(ended),
        torch.tensor(of_each, dtype=torch.float64) if reference else None,
    )


def _kl(rollout: Rollout, reference: torch.nn.Module, temperature: float) -> torch.Tensor:
    """(B,) log π(y|x) − log π_ref(y|x), summed over each response: the k1 estimate of its KL."""
    logprobs = response_logprobs(reference, rollout, temperature)
    return ((rollout.logprobs - logprobs) * rollout.mask).double().sum(1).cpu()
