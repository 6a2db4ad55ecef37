"""Servers for one machine: the MLflow UI, and a Prefect server where none is configured. All on localhost."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import typer

from governance.errors import BadInput, MissingComponent
from tasks import lineage, paths

START_SECONDS = 120
STOP_SECONDS = 30
POLL_SECONDS = 0.1


def mlflow_ui(port: int) -> None:
    """Serve the MLflow UI until Ctrl-C."""
    if not lineage.has_store():
        raise BadInput("there is nothing to show yet; `attestrl run` makes the first run.")
    if not _free(port):
        raise MissingComponent(f"port {port} is taken; name another with --port.")
    typer.echo(f"MLflow UI: http://127.0.0.1:{port} (Ctrl-C ends it)", err=True)
    artifacts = (paths.home() / "artifacts").as_uri()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    os.execv(
        sys.executable, [*command, "--backend-store-uri", lineage.tracking_uri(), "--default-artifact-root", artifacts]
    )


@contextmanager
def prefect_server() -> Iterator[Callable[[], str]]:
    """A function that waits for a Prefect server and gives its URL: the configured one, or one that starts meanwhile
    and lives as long as the context."""
    if url := os.environ.get("PREFECT_API_URL"):
        yield lambda: url
        return
    if home := os.environ.get("PREFECT_HOME"):  # a project that never ran has none, and the server makes none
        Path(home).mkdir(parents=True, exist_ok=True)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield lambda: _wait(server, port)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=STOP_SECONDS)


def _wait(server: "subprocess.Popen[bytes]", port: int) -> str:
    url = f"http://127.0.0.1:{port}/api"
    deadline = time.monotonic() + START_SECONDS
    while _free(port) or not is_healthy(url):  # a look at the port costs next to nothing, a client does
        if server.poll() is not None:
            raise MissingComponent(
                f"the local Prefect server ended as it started; its database in {os.environ.get('PREFECT_HOME')} may be "
                "damaged: move prefect.db* away, which hold no evidence, then run again."
            )
        if time.monotonic() > deadline:
            raise MissingComponent(
                f"the local Prefect server did not start within {START_SECONDS} s; run `attestrl doctor`."
            )
        time.sleep(POLL_SECONDS)
    return url


def is_healthy(url: str) -> bool:
    """Whether a server answers: Prefect's at the URL of its API, MLflow's at its own."""
    import httpx

    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _free(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) != 0
