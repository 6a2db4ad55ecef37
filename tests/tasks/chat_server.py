"""An OpenAI-compatible endpoint on this machine, whose answers a test gives."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any]], dict[str, Any]]  # the first choice of a completion, of the request's body


class Served(ThreadingHTTPServer):
    """Keeps what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self.seen = answer, list[dict[str, Any]]()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def asked(self, model: str) -> list[str]:
        """What a model was asked."""
        return [body["messages"][0]["content"] for body in self.seen if body["model"] == model]


class Handler(BaseHTTPRequestHandler):
    server: Served

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(body)
        data = json.dumps({"choices": [self.server.answer(body)]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def chat_server(answer: Answer) -> Iterator[Served]:
    """The endpoint, until the block ends."""
    with Served(answer) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield served
        served.shutdown()
