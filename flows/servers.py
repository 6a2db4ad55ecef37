"""Servers for one machine: the MLflow UI, and Prefect with one scheduled deployment. All on localhost."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from governance.errors import BadInput, MissingComponent
from tasks import lineage, paths

START_SECONDS = 120


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
    """Serve the deployments of prefect.yaml until Ctrl-C or SIGTERM; `cron` replaces the schedule of the pipeline."""
    when = _schedules_of(Path("prefect.yaml"))
    if cron:
        when["scheduled"] = (cron, "UTC")
    from cronsim import CronSim, CronSimError

    for name, (schedule, _) in when.items():
        try:
            CronSim(schedule, datetime.now())
        except CronSimError:
            where = "--cron" if cron and name == "scheduled" else f"prefect.yaml: {name}:"
            raise BadInput(
                f"{where} {schedule!r}: is not a cron expression, as in '0 3 * * 1' for Mondays at three."
            ) from None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with prefect_server() as url:
        os.environ["PREFECT_API_URL"] = url
        named = ", ".join(f"{name} by {schedule!r} ({timezone})" for name, (schedule, timezone) in when.items())
        typer.echo(f"serving {named}; Prefect UI: {url.removesuffix('/api')} (Ctrl-C ends it)", err=True)
        import prefect
        from prefect.schedules import Cron

        from flows.scheduled import scheduled_retention, scheduled_run

        # On SIGTERM Prefect's runner leaves by sys.exit inside its loop; asyncio would print the connections it cancels.
        logging.getLogger("asyncio").addFilter(lambda _: False)
        deployments: list[Any] = [
            flow.to_deployment(name, schedule=Cron(when[name][0], timezone=when[name][1]))
            for name, flow in (("scheduled", scheduled_run), ("retention", scheduled_retention))
            if name in when
        ]
        prefect.serve(*deployments, limit=1, print_starting_message=False)


def _schedules_of(file: Path) -> dict[str, tuple[str, str]]:
    """(cron expression, time zone) of every deployment by name."""
    import yaml

    deployments: list[dict[str, Any]] = yaml.safe_load(file.read_text(encoding="utf-8"))["deployments"]
    firsts = {str(d["name"]): d["schedules"][0] for d in deployments}
    return {name: (str(first["cron"]), str(first.get("timezone", "UTC"))) for name, first in firsts.items()}


@contextmanager
def prefect_server() -> Iterator[str]:
    """URL of the configured Prefect server, or of one that lives as long as the context."""
    if url := os.environ.get("PREFECT_API_URL"):
        yield url
        return
    import httpx

    if home := os.environ.get("PREFECT_HOME"):  # a project that never ran has none, and the server makes none
        Path(home).mkdir(parents=True, exist_ok=True)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        transport = httpx.HTTPTransport(retries=0)
        deadline = time.monotonic() + START_SECONDS
        with httpx.Client(transport=transport) as client:
            while not _healthy(client, url):
                if server.poll() is not None or time.monotonic() > deadline:
                    raise MissingComponent(
                        f"the local Prefect server did not start within {START_SECONDS} s; run `attestrl doctor`."
                    )
                time.sleep(0.5)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def _healthy(client: Any, url: str) -> bool:
    import httpx

    try:
        return bool(client.get(f"{url}/health").status_code == 200)
    except httpx.TransportError:
        return False


def _free(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) != 0
