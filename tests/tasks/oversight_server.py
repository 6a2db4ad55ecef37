"""An OpenAI-compatible endpoint on this machine for a judge and an expert whose ways are known."""

import re
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from tests.tasks.chat_server import Served, chat_server

ARGUED = re.compile(r"Answer ([AB]) is yours to defend")
POINTED = 20  # characters of a question, at most
SHOWN = re.compile(r"\[Answer A\]\n(.*?)\n\n\[Answer B\]\n(.*?)\n\n", re.DOTALL)


def answered(body: dict[str, Any]) -> dict[str, Any]:
    """The judge likes the letter A by one in log-odds, and the side by two for whom more quotes are verified; with none, it takes the
    shorter answer by a tenth a letter. The model "expert" quotes its answer, "pointer" the beginning of the question, and "liar" what
    stands nowhere."""
    asked = body["messages"][0]["content"]
    return judged(asked) if body.get("logprobs") else said(body["model"], asked)


def judged(asked: str) -> dict[str, Any]:
    shown = SHOWN.search(asked)
    assert shown, asked
    quotes = [len(re.findall(rf"^For answer {letter}:.*<v_quote>", asked, re.MULTILINE)) for letter in "AB"]
    odds = 1 + (2 * np.sign(quotes[0] - quotes[1]) if any(quotes) else 0.1 * (len(shown[2]) - len(shown[1])))
    a, b = -np.log1p(np.exp(-odds)), -np.log1p(np.exp(odds))
    top = [{"token": "A", "logprob": float(a)}, {"token": "B", "logprob": float(b)}]
    content = [{"token": "A", "logprob": float(a), "top_logprobs": top}]
    return {"message": {"role": "assistant", "content": "A"}, "logprobs": {"content": content}}


def said(model: str, asked: str) -> dict[str, Any]:
    if model == "helper":
        text = "1. How many?\n- Of what?" if "Write none" in asked else "Two."
    else:
        side, shown = ARGUED.search(asked), SHOWN.search(asked)
        assert side and shown, asked
        own = shown[1] if side[1] == "A" else shown[2]
        quotes = {"expert": own.split()[0][:6], "pointer": asked.removeprefix("[Question]\n").split("\n")[0][:POINTED]}
        text = f"It is so:\n<quote>{quotes.get(model, 'never said')}</quote>\nFor answer B: <v_quote>I lose.</v_quote>"
    return {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}


def oversight_server() -> AbstractContextManager[Served]:
    """The endpoint, until the block ends."""
    return chat_server(answered)
