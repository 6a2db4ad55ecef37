"""What all evaluations share: each model loaded once, responses sampled once, scores, log-probabilities, intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from governance.digest import canonical_json, sha256_bytes, sha256_path
from tasks.evals.response_cache import ResponseCache, Sampled
from tasks.evals.result import Result
from tasks.evaluation_params import Suite
from tasks.progress import bar
from tasks.review_store import Compared
from tasks.rlhf.branches import Item, continuation_logprobs
from tasks.rlhf.cores import on_every_core
from tasks.rlhf.encoding import Messages, encode_pairs, encode_prompts, stop_token_id
from tasks.rlhf.ensembles import Ensemble, load_ensemble, member_scores
from tasks.rlhf.models import load_causal_lm, load_tokenizer
from tasks.rlhf.rollout import length_groups, sample
from tasks.stats.intervals import bootstrap, bootstrap_mean, wilson

MAX_PROMPT_TOKENS = 256
BATCH = 64
GREEDY = 1e-4  # temperature at which the likeliest token is as good as certain


@dataclass(frozen=True)
class Answers:
    """Responses of one model, `samples` of each prompt one after the other. `ids`: conversation tokens; `lengths`:
    (N,) tokens of the response; `ended`: (N,) bool; `entropy`: (N,) mean nats per token."""

    ids: list[list[int]]
    texts: list[str]
    lengths: np.ndarray
    ended: np.ndarray
    entropy: np.ndarray
    samples: int

    @property
    def prompts(self) -> np.ndarray:
        """(N,) index of each response's prompt."""
        return np.repeat(np.arange(len(self.texts) // self.samples), self.samples)


@dataclass
class Bench:
    """Models, data and settings of one evaluation of a run.

    `policies`: language models by name, `base`, `sft` and `policy` among them; `rated`: further policies of the
    registry; `scorers`: `reward` (the proxy that PPO climbed) and `judge` (trained on other pairs); `sides`: held-out
    tables `reward_test` and `eval_prompts`, and `sft` and `reward_train` that were trained on; `max_length`: tokens that
    the reward models were trained with; `people`: what people said on the review page of two responses; `training`:
    samples that the stage `ppo` left, None if they are not there.
    """

    settings: Suite
    seed: int
    policies: dict[str, Path]
    rated: dict[str, Path]
    scorers: dict[str, Path]
    sides: dict[str, Path]
    cache: ResponseCache
    max_length: int
    people: list[Compared] = field(default_factory=list)
    training: Path | None = None
    _models: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    _files: dict[str, str] = field(default_factory=dict)
    _scores: dict[str, dict[tuple[int, ...], tuple[float, ...]]] = field(default_factory=dict)
    _logprobs: dict[str, dict[Item, list[float]]] = field(default_factory=dict)  # by digest: fine-tunes share a name

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of every model by name."""
        return {name: sha256_path(folder) for name, folder in (self.policies | self.rated | self.scorers).items()}

    def language_model(self, name: str) -> tuple[Any, Any]:
        """(tokenizer, language model), loaded once."""
        if name not in self._models:
            folder = (self.policies | self.rated)[name]
            self._models[name] = load_tokenizer(folder), load_causal_lm(folder).eval()
        return self._models[name]

    def unload(self, name: str) -> None:
        """Let go of a model that nothing else needs."""
        self._models.pop(name, None)

    def scorer(self, name: str) -> tuple[Any, Ensemble]:
        """(tokenizer, reward model with its members, of which there mostly is one), loaded once."""
        if name not in self._models:
            folder = self.scorers[name]
            self._models[name] = load_tokenizer(folder), load_ensemble(folder)
        return self._models[name]

    def respond(
        self,
        name: str,
        prompts: Sequence[Messages],
        *,
        samples: int | None = None,
        temperature: float | None = None,
        max_new_tokens: int | None = None,
    ) -> Answers:
        """Sampled responses of a language model, from the cache where it has them; sampling as in `settings` if not
        given. What a response says depends on its own digest alone, not on the other prompts."""
        samples = samples or self.settings.samples
        temperature = temperature or self.settings.temperature
        limit = max_new_tokens or self.settings.max_new_tokens
        tokenizer = load_tokenizer((self.policies | self.rated)[name])
        rows = [p for p in encode_prompts(tokenizer, prompts, MAX_PROMPT_TOKENS) for _ in range(samples)]
        drawn = {"model": self.digests[name], "temperature": temperature, "limit": limit, "seed": self.seed}
        keys = [
            sha256_bytes(canonical_json({**drawn, "prompt": row, "sample": i % samples})) for i, row in enumerate(rows)
        ]
        known = self.cache.get(keys)
        fresh = {key: row for key, row in zip(keys, rows, strict=True) if key not in known}
        if fresh:
            known |= self._sample(name, fresh, temperature, limit)
        given = [known[key] for key in keys]
        return Answers(
            [row + s.ids for row, s in zip(rows, given, strict=True)],
            [tokenizer.decode(s.ids, skip_special_tokens=True).strip() for s in given],
            np.array([len(s.ids) for s in given], dtype=float),
            np.array([s.ended for s in given]),
            np.array([s.entropy for s in given]),
            samples,
        )

    def _sample(self, name: str, rows: dict[str, list[int]], temperature: float, limit: int) -> dict[str, Sampled]:
        tokenizer, model = self.language_model(name)
        keys = list(rows)
        groups = [[keys[i] for i in group] for group in length_groups([len(row) for row in rows.values()], BATCH)]

        def sampled(own: Any, some: list[str]) -> dict[str, Sampled]:
            rollout = sample(
                own,
                [rows[k] for k in some],
                pad_token_id=tokenizer.pad_token_id,
                stop_token_id=stop_token_id(tokenizer),
                max_new_tokens=limit,
                temperature=temperature,
                generator=torch.stack([_numbers(k, limit) for k in some]),
            )
            entropy = rollout.entropy.sum(1) / rollout.mask.sum(1).clamp(min=1)
            return {
                k: Sampled(
                    rollout.response_ids[i][rollout.mask[i].bool()].tolist(), bool(rollout.ended[i]), float(entropy[i])
                )
                for i, k in enumerate(some)
            }

        made: dict[str, Sampled] = {}
        with bar(len(keys), f"respond: {name}", "response") as progress:
            for batch in on_every_core(model, groups, sampled):
                self.cache.put(batch.items())
                made |= batch
                progress.update(len(batch))
        return made

    def score(self, name: str, conversations: Sequence[list[int]], lengths: Sequence[float] | np.ndarray) -> np.ndarray:
        """(N,) scores of conversations as token ids, in float64; each conversation is scored once. `lengths` (N,): tokens
        of the responses in them."""
        members = torch.from_numpy(self.member_scores(name, conversations, lengths))
        return np.asarray(self.scorer(name)[1].combine(members).double().numpy())

    def member_scores(
        self, name: str, conversations: Sequence[list[int]], lengths: Sequence[float] | np.ndarray
    ) -> np.ndarray:
        """(M, N) scores of each member, in float64."""
        ensemble = self.scorer(name)[1]
        known = self._scores.setdefault(name, {})
        rows = [tuple(c) for c in conversations]
        fresh = {row: float(n) for row, n in zip(rows, lengths, strict=True) if row not in known}
        if fresh:
            scores = member_scores(ensemble, [list(row) for row in fresh], lengths=list(fresh.values())).double()
            known |= dict(zip(fresh, map(tuple, scores.T.tolist()), strict=True))
        return np.array([known[r] for r in rows]).reshape(len(rows), len(ensemble.members)).T

    def score_texts(self, name: str, prompts: Sequence[Messages], texts: Sequence[str]) -> np.ndarray:
        """(N,) scores of written answers, each ended by the end token as in training."""
        tokenizer, _ = self.scorer(name)
        conversations, lengths = encoded(tokenizer, prompts, texts, self.max_length)
        return self.score(name, conversations, lengths)

    def logprobs(self, name: str, items: Sequence[Item]) -> list[list[float]]:
        """Sums of log-probabilities of each item's continuations; each item is read once."""
        known = self._logprobs.setdefault(self.digests[name], {})
        keys = [(tuple(context), tuple(map(tuple, continuations))) for context, continuations in items]
        fresh = list(dict.fromkeys(key for key in keys if key not in known))
        if fresh:
            _, model = self.language_model(name)
            with bar(len(fresh), f"log-probabilities: {name}", "item") as progress:
                known |= dict(zip(fresh, continuation_logprobs(model, fresh, progress.update), strict=True))
        return [known[key] for key in keys]

    def file_digest(self, path: Path | str) -> str:
        """SHA-256 of a file, measured once."""
        if str(path) not in self._files:
            self._files[str(path)] = sha256_path(Path(path))
        return self._files[str(path)]

    def some(self, count: int, most: int | None = None) -> np.ndarray:
        """Indices of at most `items` of `count` rows, drawn by the seed, in order."""
        most = most or self.settings.items
        if count <= most:
            return np.arange(count)
        return np.sort(np.random.default_rng(self.seed).choice(count, most, replace=False))

    def result(
        self,
        metric: str,
        estimate: tuple[float, float, float],
        n: int,
        data: Mapping[str, Path | str],
        models: Sequence[str],
        slice: str | None = None,
    ) -> Result:
        """A record from (value, low, high); `data` names files, `models` names of this bench."""
        digests = {name: self.file_digest(path) for name, path in data.items()}
        used = {name: self.digests[name] for name in models}
        value, low, high = (float(x) for x in estimate)
        return Result(metric, value, low, high, n, slice, self.settings.level, self.seed, digests, used)

    def mean(
        self, values: np.ndarray, clusters: np.ndarray | None = None, weights: np.ndarray | None = None
    ) -> tuple[float, float, float]:
        """(Σ values / Σ weights, low, high) by the bootstrap over clusters (rows if none)."""
        values = np.asarray(values, dtype=float)
        drawn: dict[str, Any] = {"level": self.settings.level, "resamples": self.settings.resamples, "seed": self.seed}
        low, high = bootstrap_mean(values, clusters=clusters, weights=weights, **drawn)
        return float(values.sum() / (len(values) if weights is None else weights.sum())), low, high

    def bootstrap(
        self, statistic: Callable[[np.ndarray], float], groups: np.ndarray, resamples: int | None = None
    ) -> tuple[float, float, float]:
        """(value, low, high) of a statistic of row indices, by the percentile bootstrap over groups of rows."""
        drawn: dict[str, Any] = {"level": self.settings.level, "seed": self.seed}
        low, high = bootstrap(statistic, groups, resamples=resamples or self.settings.resamples, **drawn)
        return statistic(np.arange(len(groups))), low, high

    def share(self, hits: np.ndarray) -> tuple[float, float, float]:
        """(share, low, high) of independent yes-or-no items, by Wilson's interval."""
        hits = np.asarray(hits, dtype=bool)
        low, high = wilson(int(hits.sum()), len(hits), self.settings.level)
        return (float(hits.mean()) if len(hits) else float("nan")), low, high


def encoded(
    tokenizer: Any, prompts: Sequence[Messages], texts: Sequence[str], max_length: int
) -> tuple[list[list[int]], list[int]]:
    """Conversations as token ids, the answer ended by the end token, and the tokens of each answer."""
    answers = [[{"role": "assistant", "content": t}] for t in texts]
    pairs = encode_pairs(tokenizer, prompts, answers, stop_token_id(tokenizer), max_length)
    return [prompt + answer for prompt, answer in pairs], [len(answer) for _, answer in pairs]


def _numbers(key: str, count: int) -> torch.Tensor:
    """(count,) uniform numbers that follow from a digest."""
    return torch.rand(count, generator=torch.Generator().manual_seed(int(key[:15], 16)))
