"""Which of two answers keeps better to a principle, in log-odds: what SFT, or a model behind an endpoint, finds probable.

Each question is asked twice, with the answers in both orders, and the log-odds are averaged: a liking for the letter A, or
for what is shown first, cancels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from governance.errors import BadInput
from tasks.chat_endpoint import ChatEndpoint
from tasks.param_types import Endpoint
from tasks.progress import bar
from tasks.rlhf.choice_logprobs import choice_logprobs
from tasks.rlhf.encoding import Messages, encode_prompts
from tasks.rlhf.models import load_causal_lm, load_tokenizer

CHOICES = ("A", "B")
AT_ONCE = 128  # questions between two steps of the bar
LIKELIEST = 20  # tokens of which an endpoint says the log-probability: the most that OpenAI's own gives


@dataclass(frozen=True)
class Case:
    """Two answers to a prompt, and the text of the principle that they are judged by."""

    prompt: Messages
    first: str
    second: str
    text: str


@dataclass(frozen=True)
class Preferences:
    """Of each case, (n,): `log_odds` that the first answer keeps better to the principle, `lean` towards the letter A in
    log-odds, `mass`: probability of A or B as the answer at all. Not a number where an endpoint names neither."""

    log_odds: np.ndarray
    lean: np.ndarray
    mass: np.ndarray

    @property
    def orders_agree(self) -> np.ndarray:
        """(n,) bool: the same answer is preferred in both orders."""
        return np.abs(self.log_odds) > np.abs(self.lean)


class Asked(Protocol):
    """A model that is asked."""

    def logprobs(self, questions: Sequence[Messages]) -> np.ndarray:
        """(n, 2) log-probabilities of the answers A and B."""
        ...


def question(case: Case) -> Messages:
    """What is asked. The principle comes last, beside what is to be said."""
    talk = "\n".join(f"{m['role']}: {m['content']}" for m in case.prompt)
    asked = (
        f"[Conversation]\n{talk}\n\n[Response A]\n{case.first}\n\n[Response B]\n{case.second}\n\n"
        f"A good response {case.text.strip()}\nWhich response is the better one by this alone? Answer with A or B."
    )
    return [{"role": "user", "content": asked}]


def longest(tokenizer: Any, case: Case, texts: Sequence[str]) -> int:
    """Tokens of the longest question about two answers, by any of the principles' `texts`."""
    text = max(texts, key=len)
    return len(encode_prompts(tokenizer, [question(Case(case.prompt, case.first, case.second, text))], 1 << 30)[0])


def preferences(asked: Asked, cases: Sequence[Case]) -> Preferences:
    """What a model prefers in each case."""
    turned = [Case(c.prompt, c.second, c.first, c.text) for c in cases]
    found = asked.logprobs([question(c) for c in (*cases, *turned)])
    for_a = found[:, 0] - found[:, 1]
    there, back = for_a[: len(cases)], for_a[len(cases) :]
    mass = np.exp(found).sum(1)
    return Preferences((there - back) / 2, (there + back) / 2, (mass[: len(cases)] + mass[len(cases) :]) / 2)


class LocalModel:
    """A model folder of the project."""

    def __init__(self, folder: Path, max_tokens: int, *, trust_remote_code: bool = False) -> None:
        self._tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
        self._model = load_causal_lm(folder, trust_remote_code=trust_remote_code)
        self._max_tokens, self._name = max_tokens, folder.name

    def logprobs(self, questions: Sequence[Messages]) -> np.ndarray:
        """(n, 2)."""
        found = [np.zeros((0, 2))]
        with bar(len(questions), f"principles: {self._name}", "question") as progress:
            for at in range(0, len(questions), AT_ONCE):
                some = questions[at : at + AT_ONCE]
                said = choice_logprobs(self._model, self._tokenizer, some, CHOICES, self._max_tokens)
                found.append(said.double().numpy())
                progress.update(len(some))
        return np.concatenate(found)


class EndpointModel:
    """A model behind an OpenAI-compatible endpoint that tells log-probabilities."""

    def __init__(self, settings: Endpoint) -> None:
        self._endpoint = ChatEndpoint(settings, "principles.endpoint")
        self._url = settings.url

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
                f"principles.endpoint: {self._url} tells no log-probabilities; name a server that answers logprobs and "
                "top_logprobs, or set principles.endpoint to null."
            ) from None
        if not any(token in CHOICES for token, _ in likely):
            return [np.nan, np.nan]
        of = [[logprob for token, logprob in likely if token == letter] for letter in CHOICES]
        return [float(np.logaddexp.reduce(found)) if found else least for found in of]
