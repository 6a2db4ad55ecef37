"""Models that choose between A and B, in log-odds: SFT, or a model behind an endpoint.

Each question is asked twice, with what is to be chosen from in both orders, and the log-odds are averaged: a liking for the
letter A, or for what is shown first, cancels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from governance.errors import BadInput
from tasks import paths
from tasks.chat_endpoint import ChatEndpoint
from tasks.param_types import Endpoint
from tasks.progress import bar
from tasks.rlhf.choice_logprobs import choice_logprobs
from tasks.rlhf.encoding import Messages
from tasks.rlhf.models import load_causal_lm, load_tokenizer

CHOICES = ("A", "B")
AT_ONCE = 128  # questions between two steps of the bar
LIKELIEST = 20  # tokens of which an endpoint says the log-probability: the most that OpenAI's own gives


@dataclass(frozen=True)
class Preferences:
    """Of each question, (n,): `log_odds` that the first is the one to choose, `lean` towards the letter A in log-odds,
    `mass`: probability of A or B as the answer at all. Not a number where an endpoint names neither."""

    log_odds: np.ndarray
    lean: np.ndarray
    mass: np.ndarray

    @property
    def orders_agree(self) -> np.ndarray:
        """(n,) bool: the same is preferred in both orders."""
        return np.abs(self.log_odds) > np.abs(self.lean)


class Asked(Protocol):
    """A model that is asked."""

    def logprobs(self, questions: Sequence[Messages]) -> np.ndarray:
        """(n, 2) log-probabilities of the answers A and B."""
        ...


def asked_model(endpoint: Endpoint | None, where: str, max_tokens: int, *, trust_remote_code: bool) -> Asked:
    """The model behind an endpoint, which is the key `where` of params.yaml, else SFT."""
    if endpoint:
        return EndpointModel(endpoint, where)
    return LocalModel(paths.SFT, max_tokens, where.partition(".")[0], trust_remote_code=trust_remote_code)


def in_both_orders(asked: Asked, questions: Sequence[Messages], turned: Sequence[Messages]) -> Preferences:
    """What a model prefers. `turned`: the same questions, in which B is what is A in `questions`."""
    found = asked.logprobs([*questions, *turned])
    for_a = found[:, 0] - found[:, 1]
    there, back = for_a[: len(questions)], for_a[len(questions) :]
    mass = np.exp(found).sum(1)
    return Preferences((there - back) / 2, (there + back) / 2, (mass[: len(questions)] + mass[len(questions) :]) / 2)


class LocalModel:
    """A model folder of the project. `section` of params.yaml: what the bar shows."""

    def __init__(self, folder: Path, max_tokens: int, section: str, *, trust_remote_code: bool = False) -> None:
        self._tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
        self._model = load_causal_lm(folder, trust_remote_code=trust_remote_code)
        self._max_tokens, self._name = max_tokens, f"{section}: {folder.name}"

    def logprobs(self, questions: Sequence[Messages]) -> np.ndarray:
        """(n, 2)."""
        found = [np.zeros((0, 2))]
        with bar(len(questions), self._name, "question") as progress:
            for at in range(0, len(questions), AT_ONCE):
                some = questions[at : at + AT_ONCE]
                said = choice_logprobs(self._model, self._tokenizer, some, CHOICES, self._max_tokens)
                found.append(said.double().numpy())
                progress.update(len(some))
        return np.concatenate(found)


class EndpointModel:
    """A model behind an OpenAI-compatible endpoint that tells log-probabilities. `where`: its key of params.yaml."""

    def __init__(self, settings: Endpoint, where: str) -> None:
        self._endpoint = ChatEndpoint(settings, where)
        self._url, self._where = settings.url, where

    def logprobs(self, questions: Sequence[Messages]) -> np.ndarray:
        """(n, 2); a letter that is not among the likeliest answers is taken to be as likely as the last of them."""
        return np.array(self._endpoint.each(self._ask, questions, "question")).reshape(-1, 2)

    def _ask(self, asked: Messages) -> list[float]:
        options = {"temperature": 0, "max_tokens": 1, "logprobs": True, "top_logprobs": LIKELIEST}
        choice = self._endpoint.complete(asked, **options)
        try:
            likely = [
                (str(t["token"]).strip(), float(t["logprob"])) for t in choice["logprobs"]["content"][0]["top_logprobs"]
            ]
            least = min(logprob for _, logprob in likely)
        except (KeyError, IndexError, TypeError, ValueError):
            raise BadInput(
                f"{self._where}: {self._url} tells no log-probabilities; name a server that answers logprobs and "
                f"top_logprobs, or set {self._where} to null."
            ) from None
        if not any(token in CHOICES for token, _ in likely):
            return [np.nan, np.nan]
        of = [[logprob for token, logprob in likely if token == letter] for letter in CHOICES]
        return [float(np.logaddexp.reduce(found)) if found else least for found in of]
