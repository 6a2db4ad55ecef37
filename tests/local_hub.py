"""A hub on localhost that speaks as much of the Hugging Face Hub's HTTP interface as its own client asks for."""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextlib.contextmanager
def local_hub(root: Path) -> Iterator[str]:
    """URL of a hub whose repositories are the folders `root/datasets/<owner>/<name>` and `root/models/<owner>/<name>`."""

    class Handler(_Handler):
        folder = root

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    folder: Path

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = json.loads(asked) if "json" in self.headers["Content-Type"] else parse_qs(asked)
        self._answer(body=True, names=form.get("paths", []))

    def _answer(self, *, body: bool, names: list[str] | None = None) -> None:
        parts = [unquote(p) for p in urlsplit(self.path).path.strip("/").split("/")]
        api = parts[0] == "api"
        parts = parts[api:]
        kind = parts.pop(0) if parts[0] in ("datasets", "models") else "models"
        repository, rest = "/".join(parts[:2]), parts[2:]
        files = self.folder / kind / repository
        if not files.is_dir():
            self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"}, body)
        elif api:
            self._send(200, json.dumps(self._told(repository, files, rest, names)).encode(), {}, body)
        elif rest[:1] == ["resolve"] and (file := files / "/".join(rest[2:])).is_file():
            content = file.read_bytes()
            tag = hashlib.sha1(content).hexdigest()
            self._send(200, content, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}, body)
        else:
            self._send(404, b'{"error": "Entry not found"}', {"X-Error-Code": "EntryNotFound"}, body)

    def _told(self, repository: str, files: Path, rest: list[str], names: list[str] | None) -> Any:
        every = {p.relative_to(files).as_posix(): p for p in sorted(files.rglob("*")) if p.is_file()}
        if rest[:1] in (["tree"], ["paths-info"]):
            folder = files / "/".join(rest[2:])
            inside = folder.rglob("*") if "recursive=true" in self.path.lower() else folder.glob("*")
            found = [files / n for n in names] if names is not None else sorted(inside)
            return [_entry(p, p.relative_to(files).as_posix()) for p in found if p.exists()]
        siblings = [{"rfilename": name} for name in every]
        return {"id": repository, "sha": COMMIT, "private": False, "tags": [], "downloads": 0, "siblings": siblings}

    def _send(self, code: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(code)
        for name, value in (
            {"Content-Length": str(len(content)), "Content-Type": "application/json"} | headers
        ).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: tests print what went wrong themselves."""


def _entry(path: Path, name: str) -> dict[str, Any]:
    """A file or folder as the hub lists it."""
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": "0" * 40}
    return {"type": "file", "path": name, "size": path.stat().st_size, "oid": "0" * 40}
