"""An OpenAI-compatible endpoint on this machine for a judge and an expert whose ways are known."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

ARGUED = re.compile(r"Answer ([AB]) is yours to defend")
SHOWN = re.compile(r"\[Answer A\]\n(.*?)\n\n\[Answer B\]\n(.*?)\n\n", re.DOTALL)


class Served(ThreadingHTTPServer):
    """Keeps what it was asked."""

    def __init__(self) -> None:
        self.seen = list[dict[str, Any]]()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def asked(self, model: str) -> list[str]:
        """What a model was asked."""
        return [body["messages"][0]["content"] for body in self.seen if body["model"] == model]


class Handler(BaseHTTPRequestHandler):
    """The judge likes the letter A by one in log-odds, and the side by two for whom more quotes are verified; with none, it takes the
    shorter answer by a tenth a letter. The model "expert" quotes its answer, and "liar" what stands nowhere."""

    server: Served

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(body)
        asked = body["messages"][0]["content"]
        choice = judged(asked) if body.get("logprobs") else said(body["model"], asked)
        data = json.dumps({"choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


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
        text = f"It is so:\n<quote>{own.split()[0][:6] if model == 'expert' else 'never said'}</quote>\nFor answer B: <v_quote>I lose.</v_quote>"
    return {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}


@contextmanager
def oversight_server() -> Iterator[Served]:
    """The endpoint, until the block ends."""
    with Served() as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield served
        served.shutdown()
