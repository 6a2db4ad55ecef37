"""An OpenAI-compatible endpoint on this machine that tells log-probabilities of A and B."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np


class Served(ThreadingHTTPServer):
    """Keeps what it was asked."""

    def __init__(self) -> None:
        self.seen = list[dict[str, Any]]()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    """Says A with log-odds of how much shorter the first answer is; not so the models "no letter", "a alone", "no logprobs"."""

    server: Served

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(body)
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
        data = json.dumps({"choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def choice_server() -> Iterator[Served]:
    """The endpoint, until the block ends."""
    with Served() as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield served
        served.shutdown()
