"""An endpoint that tells log-probabilities of A and B."""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from tests.tasks.chat_server import Served, chat_server


def chosen(body: dict[str, Any]) -> dict[str, Any]:
    """Says A with log-odds of how much shorter the first answer is; not so the models "no letter", "a alone", "no logprobs"."""
    asked = body["messages"][0]["content"]
    first, second = asked.split("[Response A]\n")[1].split("\n\nA good")[0].split("\n\n[Response B]\n")
    odds = 0.1 * (len(second) - len(first))
    a, b = -np.log1p(np.exp(-odds)) - 0.1, -np.log1p(np.exp(odds)) - 0.1
    half = np.log(2)
    every = [("A", a - half), (" A", a - half), ("B", b), ("The", -50.0)]
    likely = {"no letter": every[-1:], "a alone": [every[0], every[-1]]}.get(body["model"], every)
    top = [{"token": token, "logprob": logprob} for token, logprob in likely]
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": "A"}}
    if body["model"] != "no logprobs":
        choice["logprobs"] = {"content": [{"token": "A", "logprob": -1.0, "top_logprobs": top}]}
    return choice


def choice_server() -> AbstractContextManager[Served]:
    """The endpoint, until the block ends."""
    return chat_server(chosen)
