"""Servers for one machine: the MLflow UI, and Prefect with one scheduled deployment. All on localhost."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

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


def serve(cron: str | None) -> None:
    """Serve the scheduled deployment until Ctrl-C or SIGTERM."""
    schedule, timezone = (cron, "UTC") if cron else _schedule_of(Path("prefect.yaml"))
    from cronsim import CronSim, CronSimError

    try:
        CronSim(schedule, datetime.now())
    except CronSimError:
        raise BadInput(
            f"--cron {schedule!r}: is not a cron expression, as in '0 3 * * 1' for Mondays at three."
        ) from None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with prefect_server() as ready:
        url = os.environ["PREFECT_API_URL"] = ready()
        typer.echo(
            f"serving attestrl-scheduled by {schedule!r} ({timezone}); Prefect UI: {url.removesuffix('/api')} (Ctrl-C ends it)",
            err=True,
        )
        from prefect.schedules import Cron

        from flows.scheduled import scheduled_run

        # On SIGTERM Prefect's runner leaves by sys.exit inside its loop; asyncio would print the connections it cancels.
        logging.getLogger("asyncio").addFilter(lambda _: False)
        when = Cron(schedule, timezone=timezone)
        scheduled_run.serve(name="scheduled", schedule=when, limit=1, print_starting_message=False)


def _schedule_of(file: Path) -> tuple[str, str]:
    """(cron expression, time zone) of the first deployment."""
    import yaml

    deployments: list[dict[str, Any]] = yaml.safe_load(file.read_text(encoding="utf-8"))["deployments"]
    first = deployments[0]["schedules"][0]
    return str(first["cron"]), str(first.get("timezone", "UTC"))


@contextmanager
def prefect_server() -> Iterator[Callable[[], str]]:
    """A function that waits for a Prefect server and gives its URL: the configured one, or one that starts meanwhile
    and lives as long as the context."""
    if url := os.environ.get("PREFECT_API_URL"):
        yield lambda: url
        return
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
        yield lambda: _wait(server, f"http://127.0.0.1:{port}/api")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=STOP_SECONDS)


def _wait(server: "subprocess.Popen[bytes]", url: str) -> str:
    import httpx

    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(transport=httpx.HTTPTransport(retries=0)) as client:
        while not _healthy(client, url):
            if server.poll() is not None or time.monotonic() > deadline:
                raise MissingComponent(
                    f"the local Prefect server did not start within {START_SECONDS} s; run `attestrl doctor`."
                )
            time.sleep(POLL_SECONDS)
    return url


def _healthy(client: Any, url: str) -> bool:
    import httpx

    try:
        return bool(client.get(f"{url}/health").status_code == 200)
    except httpx.TransportError:
        return False


def _free(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) != 0
