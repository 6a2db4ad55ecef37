"""Who is told of what: a webhook, Slack and e-mail, by servers that really receive; and a service that is away."""

import contextlib
import json
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from email import message_from_string, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import servers
from tests.end_to_end.conftest import Project, copy_project

pytestmark = [pytest.mark.slow, pytest.mark.production]

SAVE = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from flows.email_block import Email
http, smtp, nobody = sys.argv[1:]
texts = {"title": "{{subject}}", "text": "{{body}}", "token": "{{token}}"}
hook = {"name": "pager", "json_data": texts, "secrets": {"token": "of-the-pager"}}
CustomWebhookNotificationBlock(url=f"http://127.0.0.1:{http}/pager", **hook).save("pager")
CustomWebhookNotificationBlock(url=f"http://127.0.0.1:{nobody}/", **hook).save("away")
SlackWebhook(url=f"json://127.0.0.1:{http}/team").save("team")
addresses = {"sender": "attestrl@example.org", "to": ["lead@example.org", "ml@example.org"]}
Email(host="127.0.0.1", port=int(smtp), security="insecure", **addresses).save("leads")
"""


@contextlib.contextmanager
def listening(handler: type[Any], server: type[Any]) -> Iterator[Any]:
    with server(("127.0.0.1", 0), handler) as listener:
        listener.received = []
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield listener
        listener.shutdown()


class Hook(BaseHTTPRequestHandler):
    """Keeps what is posted."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append((self.path, body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class Mail(socketserver.StreamRequestHandler):
    """As much of RFC 5321 as a client needs to hand over a mail."""

    def handle(self) -> None:
        self.wfile.write(b"220 localhost\r\n")
        to: list[str] = []
        while line := self.rfile.readline().decode().strip():
            if line.upper() == "DATA":
                self.wfile.write(b"354 go on\r\n")
                text = "".join(iter(lambda: self.rfile.readline().decode(), ".\r\n"))
                self.server.received.append((to.pop(), message_from_string(text, policy=policy.default)))  # type: ignore[attr-defined]
            elif line.upper().startswith("RCPT"):
                to.append(line.partition("<")[2].partition(">")[0])
            self.wfile.write(b"221 bye\r\n" if line.upper() == "QUIT" else b"250 ok\r\n")


def test_a_run_that_fails_is_told_to_everybody_who_can_be_reached(tmp_path: Path, orchestrator: str) -> None:
    project = Project(copy_project(tmp_path / "p"), orchestrator)
    settings = yaml.safe_load((project.folder / "params.yaml").read_text())
    settings["ingest"]["preferences"] = "data/raw/none.jsonl"
    names = ["custom-webhook/away", "custom-webhook/pager", "slack-webhook/team", "attestrl-email/leads", "secret/none"]
    settings["notify"]["blocks"] = names
    (project.folder / "params.yaml").write_text(yaml.safe_dump(settings))
    with listening(Hook, ThreadingHTTPServer) as hook, listening(Mail, socketserver.ThreadingTCPServer) as mail:
        ports = [str(s.server_address[1]) for s in (hook, mail)]
        command = [sys.executable, "-c", SAVE, *ports, str(servers.free_port())]
        subprocess.run(command, cwd=project.folder, env=project.environment, check=True, capture_output=True)
        done = project.attestrl("run", "--json")
    record = json.loads(done.stdout)
    assert (record["status"], done.returncode) == ("failed", 2)
    subject = f"Run {record['run_id']}: failed"
    assert [line.split(":")[2].strip() for line in done.stderr.splitlines() if "could not be told" in line] == [
        "custom-webhook/away",
        "secret/none",
    ]
    posted = dict(hook.received)
    assert posted["/pager"]["title"] == subject
    assert posted["/pager"]["token"] == "of-the-pager"
    assert "data/raw/none.jsonl: there is no such file" in posted["/pager"]["text"]
    assert posted["/team"]["title"] == subject
    assert "of-the-pager" not in done.stderr
    assert sorted(to for to, _ in mail.received) == ["lead@example.org", "ml@example.org"]
    for _, text in mail.received:
        assert text["Subject"] == subject
        assert "data/raw/none.jsonl: there is no such file" in text.get_content()
