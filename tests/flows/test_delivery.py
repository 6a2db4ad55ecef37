"""What MLflow is not told because its server is away is kept, said, and told by the next run."""

import json
import logging
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import urllib3

from flows import delivery, recovery
from governance.entry import Event
from governance.errors import MissingComponent, explained
from governance.ledger import Ledger
from tasks import lineage, outages
from tests import servers
from tests.conftest import ROOT, give_store


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project that has an MLflow store and no run."""
    import mlflow

    shutil.copy2(ROOT / "params.yaml", tmp_path)
    give_store(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path / ".attestrl"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield tmp_path
    mlflow.set_registry_uri("")  # as the next test expects it
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        os.environ.pop(name, None)


def run_record(folder: Path) -> dict[str, Any]:
    """A run whose policy passed the gate, as its record says."""
    import mlflow

    client = mlflow.MlflowClient()
    run = client.create_run(lineage.connect("p"), tags={"attestrl.process": "1"})
    client.create_registered_model("policy")
    client.create_model_version("policy", "file:///nowhere", run.info.run_id)
    record = {
        "run_id": "run-1",
        "status": "done",
        "actor": "user:a",
        "mlflow_run_id": run.info.run_id,
        "stages": [{"name": "ppo", "outcome": "made", "mlflow_run_id": "m"}, {"name": "base", "outcome": "skipped"}],
        "metrics": {"win_rate": {"value": 0.7}},
        "gate": {"verdict": "pass"},
        "policy": {"name": "policy", "version": "1", "model_id": None, "sha256": "a" * 64},
    }
    (folder / "run-1").mkdir(parents=True)
    (folder / "run-1/run.json").write_text(json.dumps(record))
    return record


def test_a_run_that_ends_while_mlflow_is_away_is_told_of_later(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    ledger = Ledger(project / ".attestrl/ledger.jsonl")
    outages.announce_mlflow()
    lineage.connect("p")
    record, store = run_record(project / ".attestrl/records"), mlflow.get_tracking_uri()
    away = f"http://127.0.0.1:{servers.free_port()}"
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        patch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
        mlflow.set_tracking_uri(away)
        mlflow.set_registry_uri(away)
        delivery.deliver(record)
        os.environ.pop("MLFLOW_TRACKING_URI")  # which MLflow set
    said = capsys.readouterr().err
    assert said.count("the MLflow server does not answer; waiting for it") == 1
    assert "run run-1: the MLflow server does not answer; start it" in said
    assert list(ledger.entries()) == []

    mlflow.set_tracking_uri(store)
    mlflow.set_registry_uri(store)
    recovery.recover_store()
    client = mlflow.MlflowClient()
    told = client.get_run(record["mlflow_run_id"])
    assert (told.info.status, told.data.metrics) == ("FINISHED", {"win_rate": 0.7})
    assert told.data.tags["stage.ppo"] == "made"
    assert "stage.base" not in told.data.tags
    assert str(client.get_model_version_by_alias("policy", "candidate").version) == "1"
    assert not list((project / ".attestrl/undelivered").iterdir())
    (project / ".attestrl/undelivered/run-1").touch()  # as if the server had gone in between
    recovery.recover_store()
    assert [e.type for e in ledger.entries()] == [Event.ALIAS_MOVED]


def test_only_attempts_at_mlflow_become_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    outages.announce_mlflow()
    logger = logging.getLogger("urllib3.connectionpool")
    logger.warning("Retrying (%r) after connection broken by '%r': %s", 1, "x", "/elsewhere")
    assert capsys.readouterr().err == ""


@contextmanager
def answering(status: int) -> Iterator[int]:
    """Port of a server that answers everything with `status`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_an_outage_after_an_answer_is_another_one(capsys: pytest.CaptureFixture[str]) -> None:
    outages.announce_mlflow()

    def ask(port: int) -> int:
        """How many sentences that gives."""
        with suppress(urllib3.exceptions.MaxRetryError):
            urllib3.PoolManager().request("GET", f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/get", retries=1)
        return capsys.readouterr().err.count("the MLflow server does not answer")

    nobody = servers.free_port()
    with answering(200) as well, answering(503) as ill:
        ask(well)
        assert [ask(nobody), ask(nobody), ask(ill), ask(nobody)] == [1, 0, 0, 0]
        assert [ask(well), ask(nobody), ask(nobody)] == [0, 1, 0]


def test_a_server_that_stays_away_is_one_sentence() -> None:
    text = "HTTPConnectionPool(host='h', port=1): Max retries exceeded with url: /api/2.0/mlflow/runs/create"
    error = RuntimeError("x")
    error.__context__ = type("MaxRetryError", (Exception,), {})(text)
    assert isinstance(explained(error), MissingComponent)
