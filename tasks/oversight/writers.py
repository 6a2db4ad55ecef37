"""Models that write what experts and helpers say: SFT, or a model behind an OpenAI-compatible endpoint.

Nothing that is asked is cut: what is longer than `max_tokens`, with room for the answer, is answered by nothing. What is written
ends after `max_new_tokens`, also where an endpoint counts otherwise. Both are counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks import paths
from tasks.chat_endpoint import ChatEndpoint
from tasks.evals.generation import respond
from tasks.param_types import Endpoint
from tasks.rlhf.encoding import Messages, encode_prompts
from tasks.training_params import ModelPairs

Written = tuple[str, bool]  # and whether it came to its end
Write = Callable[[Sequence[Messages], int], list[Written]]  # the second: the seed of the draw


@dataclass
class Writer:
    """`texts` so far, of which `cut` were ended by their length, and `not_asked`: prompts that were too long."""

    write: Write
    tokenizer: Any
    settings: ModelPairs
    seed: int
    counts: dict[str, int] = field(default_factory=lambda: {"texts": 0, "cut": 0, "not_asked": 0})

    def say(self, prompts: Sequence[str]) -> list[str]:
        """The answer to each prompt, "" where there is none."""
        asked: list[Messages] = [[{"role": "user", "content": prompt}] for prompt in prompts]
        lengths = [len(ids) for ids in encode_prompts(self.tokenizer, asked, 1 << 30)]
        fit = [i for i, n in enumerate(lengths) if n + self.settings.max_new_tokens <= self.settings.max_tokens]
        self.counts["not_asked"] += len(asked) - len(fit)
        self.seed += 1  # another draw each time
        said = [""] * len(asked)
        for i, written in zip(fit, self.write([asked[i] for i in fit], self.seed) if fit else [], strict=True):
            said[i] = self._within(*written)
        return said

    def _within(self, text: str, ended: bool) -> str:
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        most = self.settings.max_new_tokens
        self.counts["texts"] += 1
        self.counts["cut"] += not ended or len(ids) > most
        return text if len(ids) <= most else str(self.tokenizer.decode(ids[:most], skip_special_tokens=True))


def writer(endpoint: Endpoint | None, where: str, tokenizer: Any, settings: ModelPairs, seed: int) -> Writer:
    """The model behind an endpoint, which is the key `where` of params.yaml, else SFT."""
    write = _at_endpoint(endpoint, where, settings) if endpoint else _by_sft(tokenizer, settings)
    return Writer(write, tokenizer, settings, seed)


def _by_sft(tokenizer: Any, settings: ModelPairs) -> Write:
    def write(prompts: Sequence[Messages], seed: int) -> list[Written]:
        found = respond(
            paths.SFT,
            encode_prompts(tokenizer, prompts, settings.max_tokens),
            samples=1,
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            seed=seed,
        )
        return list(zip(found.texts, found.ended.tolist(), strict=True))

    return write


def _at_endpoint(endpoint: Endpoint, where: str, settings: ModelPairs) -> Write:
    client = ChatEndpoint(endpoint, where)
    options: dict[str, Any] = {"temperature": settings.temperature, "max_tokens": settings.max_new_tokens}

    def write(prompts: Sequence[Messages], seed: int) -> list[Written]:
        def ask(prompt: Messages) -> Written:
            choice = client.complete(prompt, **options, seed=seed)
            return str(choice["message"]["content"] or "").strip(), choice.get("finish_reason") != "length"

        return client.each(ask, prompts, "text")

    return write
