"""Real servers for tests, each on a free port of localhost, ended with the test that asked for it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

BINARIES = next((p for p in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
START_SECONDS = 180
SUPERUSER, PASSWORD = "postgres", "super-secret"


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL server of its own."""

    folder: Path
    binaries: Path
    port: int

    def url(self, database: str, user: str = SUPERUSER, password: str = PASSWORD, scheme: str = "postgresql") -> str:
        return f"{scheme}://{user}:{password}@127.0.0.1:{self.port}/{database}"

    @property
    def options(self) -> str:
        """With which it is started."""
        return f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"

    def psql(self, file: Path, **variables: str) -> None:
        """Run a file of statements as the superuser."""
        given = [part for name, value in variables.items() for part in ("-v", f"{name}={value}")]
        command = [str(self.binaries / "psql"), "-X", "-q", *given, "-f", str(file), self.url("postgres")]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def control(self, *arguments: str) -> None:
        """`pg_ctl`, as the user that may."""
        command = [str(self.binaries / "pg_ctl"), "-D", "data", "-w", "-t", "100", "-l", "log", *arguments]
        _as_owner(self.folder, *command)


def _as_owner(folder: Path, *command: str) -> None:
    user = "postgres" if os.getuid() == 0 else None  # the server refuses to run as root
    subprocess.run(command, cwd=folder, user=user, check=True, stdout=subprocess.DEVNULL, timeout=120)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A server that asks everybody for a password."""
    pytest.importorskip("psycopg2")
    found = shutil.which("initdb")
    binaries = Path(found).resolve().parent if found else BINARIES
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed")
    folder = Path(tempfile.mkdtemp(prefix="attestrl-pg-"))
    (folder / "password").write_text(PASSWORD)
    if os.getuid() == 0:
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres")
    server = Postgres(folder, binaries, free_port())
    methods = ["-A", "scram-sha-256", "--pwfile", "password"]
    _as_owner(folder, str(binaries / "initdb"), "-D", "data", "-U", SUPERUSER, *methods, "-N")
    server.control("-o", server.options, "start")
    try:
        yield server
    finally:
        server.control("-m", "immediate", "stop")
        shutil.rmtree(folder)


@contextmanager
def s3() -> Iterator[str]:
    """URL of a server that speaks S3 and takes any key."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    port = free_port()
    with program([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], {}):
        wait_until(lambda: _listens(port))
        yield f"http://127.0.0.1:{port}"


@contextmanager
def redis(password: str, port: int) -> Iterator[int]:
    """Port of a Redis server with a password."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no Redis server is installed")
    settings = ["--port", str(port), "--bind", "127.0.0.1", "--requirepass", password, "--save", ""]
    with program([binary, *settings], {}):
        wait_until(lambda: _listens(port))
        yield port


@contextmanager
def nginx(site: str, folder: Path, port: int) -> Iterator[None]:
    """An nginx server with this configuration of its sites, one of which listens on `port`; its own files are in `folder`."""
    binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        pytest.skip("no nginx is installed")
    (folder / "site.conf").write_text(site)
    kept = "".join(f"{k}_temp_path {folder}/{k}; " for k in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root; " if os.getuid() == 0 else ""
    text = f"{user}pid {folder}/pid; events {{}} http {{ access_log off; {kept} include {folder}/site.conf; }}"
    (folder / "nginx.conf").write_text(text)
    command = [binary, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    with program([*command, "-g", "daemon off;"], {}, folder / "log"):
        wait_until(lambda: _listens(port), folder / "log")
        yield


class Server:
    """A server that can be taken down, and come up again as the same."""

    def __init__(self, make: Callable[[], AbstractContextManager[Any]]) -> None:
        self._make, self._running = make, ExitStack()
        self._given: Any = None

    def up(self) -> Any:
        """Start it, unless it runs; gives what the context manager gave."""
        if self._given is None:
            self._given = self._running.enter_context(self._make())
        return self._given

    def down(self) -> None:
        """End it, if it runs."""
        self._running.close()
        self._given = None


@contextmanager
def program(
    command: list[str],
    environment: Mapping[str, str],
    log: Path | None = None,
    cwd: Path | None = None,
    user: Mapping[str, Any] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs in `cwd` until the block ends, as another user where one is given (tests.another_user)."""
    with (log or Path(os.devnull)).open("ab") as out:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **environment},
            stdout=out,
            stderr=out,
            start_new_session=True,
            **(user or {}),
        )
    try:
        yield process
    finally:
        end(process)


def wait_until(ready: Callable[[], bool], log: Path | None = None, seconds: float = START_SECONDS) -> None:
    """Until it is so; fails with the end of the log if it does not come to that."""
    deadline = time.monotonic() + seconds
    while not ready():
        said = log.read_text(errors="replace")[-3000:] if log else ""
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {said}"
        time.sleep(0.3)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=20)
    except ProcessLookupError:
        process.wait(timeout=20)


def answers(url: str) -> bool:
    """Whether a server says that it is well."""
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def prefect(environment: Mapping[str, str], log: Path, port: int) -> Iterator[str]:
    """URL of the API of a Prefect server that is starting."""
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with program(command, environment, log):
        yield f"http://127.0.0.1:{port}/api"


@contextmanager
def mlflow(environment: Mapping[str, str], arguments: list[str], log: Path, port: int | None = None) -> Iterator[str]:
    """URL of an MLflow server that is starting."""
    port = port or free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with program([*command, *arguments], environment, log):
        yield f"http://127.0.0.1:{port}"
