"""The endpoint judge against a real HTTP server on this machine."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from governance.errors import BadInput, MissingComponent
from tasks.evals import preference
from tasks.evals.endpoint_judge import EndpointJudge
from tasks.param_types import Endpoint
from tests.tasks.evals.conftest import bench_of

pytestmark = pytest.mark.xdist_group("evals")
Reply = Callable[[dict[str, object], int], tuple[int, str]]


class Server(ThreadingHTTPServer):
    """An OpenAI-compatible endpoint whose answers `reply` gives; it keeps what it was asked."""

    def __init__(self, reply: Reply) -> None:
        self.reply, self.seen = reply, list[tuple[str, str | None]]()
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, self.headers.get("Authorization")))
        status, said = self.server.reply(body, len(self.server.seen))
        data = json.dumps({"choices": [{"message": {"role": "assistant", "content": said}}]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served() -> Iterator[Callable[[Reply], Server]]:
    servers: list[Server] = []

    def start(reply: Reply) -> Server:
        servers.append(Server(reply))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def judge(server: Server) -> EndpointJudge:
    return EndpointJudge(
        Endpoint(url=f"http://127.0.0.1:{server.server_port}/v1", model="m", key="TEST_JUDGE_KEY", timeout=5)
    )


def longer(body: dict[str, object], _: int) -> tuple[int, str]:
    """Prefers the longer response, as it was shown."""
    question = body["messages"][1]["content"]  # type: ignore[index]
    a = question.split("[Response A]\n")[1].split("\n\n[Response B]")[0]
    b = question.split("[Response B]\n")[1].split("\n\nWhich")[0]
    return 200, "A" if len(a) > len(b) else "B" if len(b) > len(a) else "C"


PROMPT = [{"role": "user", "content": "Hi"}]


def test_verdicts_and_the_key(served: Callable[[Reply], Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_JUDGE_KEY", "secret")
    server = served(longer)
    assert judge(server).prefer([(PROMPT, "long answer", "no"), (PROMPT, "a", "bb"), (PROMPT, "xx", "yy")]) == [
        1,
        0,
        0.5,
    ]
    assert set(server.seen) == {("/v1/chat/completions", "Bearer secret")}


def test_an_answer_without_a_letter_is_none_and_no_key_is_sent_where_there_is_none(
    served: Callable[[Reply], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of another endpoint")
    server = served(lambda body, n: (200, "hard to say"))
    assert judge(server).prefer([(PROMPT, "a", "b")]) == [None]
    assert server.seen == [("/v1/chat/completions", None)]


def test_a_busy_server_is_asked_again(served: Callable[[Reply], Server]) -> None:
    server = served(lambda body, n: (503 if n == 1 else 200, "A"))
    assert judge(server).prefer([(PROMPT, "a", "b")]) == [1]
    assert len(server.seen) == 2


def test_a_refused_key_is_said(served: Callable[[Reply], Server]) -> None:
    with pytest.raises(BadInput, match="answers 401"):
        judge(served(lambda body, n: (401, ""))).prefer([(PROMPT, "a", "b")])


def test_no_server(served: Callable[[Reply], Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.chat_endpoint.RETRIES", 0)
    server = served(longer)
    nobody = EndpointJudge(Endpoint(url="http://127.0.0.1:9/v1", model="m"))
    with pytest.raises(MissingComponent, match="does not answer"):
        nobody.prefer([(PROMPT, "a", "b")])
    assert not server.seen
    with pytest.raises(MissingComponent, match="answers 503 again and again"):
        judge(served(lambda body, n: (503, ""))).prefer([(PROMPT, "a", "b")])


def test_position_bias_is_measured_and_cancels(
    served: Callable[[Reply], Server], bench_folder: Path, tmp_path: Path
) -> None:
    """A judge that always names the first answer, in one case out of eight unreadably."""
    server = served(lambda body, n: (200, "" if n % 8 == 0 else "A"))
    judge = {"url": f"http://127.0.0.1:{server.server_port}/v1", "model": "first"}
    bench = bench_of(bench_folder, tmp_path / "a.sqlite", judge=judge, items=6)
    outcome = preference.run(bench)
    found = {r.metric: r for r in outcome.results if r.slice == "judge: first"}
    assert found["preference/win_rate/policy_vs_sft"].value == pytest.approx(0.5, abs=0.1)
    assert found["preference/position_bias/policy_vs_sft"].low > 0.3
    assert found["preference/consistent/policy_vs_sft"].value < 0.2
    assert found["preference/agreement/judge_with_people/pandalm"].n == 18
    asked = 2 * (3 * 6 * 2 + 18)
    assert len(server.seen) == asked
    assert outcome.notes == [f"first: {asked // 8} answers name no letter; each counts as a tie."]
