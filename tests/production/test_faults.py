"""One run through the stack while each of its servers is away in turn: nothing is lost, and a sentence says so."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from governance.entry import Event
from governance.postgres_ledger import PostgresLedger
from tests.end_to_end.conftest import Project, outcomes, small_project
from tests.production.conftest import PIPELINE, Stack
from tests.servers import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.production, pytest.mark.xdist_group("stack")]
SOONER = {
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "9",
}  # as long, asked more often
AWAY = "the {} server does not answer; waiting for it"


@dataclass(frozen=True)
class OnStack(Project):
    """A project whose servers are the stack's."""

    stack: Stack

    @property
    def environment(self) -> dict[str, str]:
        return self.stack.environment | SOONER


@pytest.fixture(scope="module")
def team(stack: Stack, tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> OnStack:
    folder = small_project(tmp_path_factory.mktemp("faults"), tiny_model_folder, stack.prefect).folder
    return OnStack(folder, stack.prefect, stack)


def test_a_run_outlives_every_server(team: OnStack, monkeypatch: pytest.MonkeyPatch) -> None:
    servers, said = team.stack.servers, team.folder / "said"
    command = [sys.executable, "-m", "flows.cli", "run", "--json", "--params", "tiny.yaml", "--until", "ingest"]
    servers["mlflow"].down()
    with said.open("w") as err, (team.folder / "run.json").open("w") as out:
        run = subprocess.Popen(command, cwd=team.folder, env=team.environment, stdout=out, stderr=err)

    def until(ready: Callable[[], bool]) -> None:
        """While the run goes on."""
        wait_until(lambda: run.poll() is not None or ready(), said)
        assert run.poll() is None, said.read_text()

    def began() -> bool:
        return any((team.folder / ".attestrl/receipts").glob("ingest-*.json"))

    try:
        until(lambda: AWAY.format("MLflow") in said.read_text())  # at the start, before anything can be told
        servers["mlflow"].up()
        until(began)
        team.stack.postgres.control("-m", "immediate", "stop")
        team.stack.postgres.control("-o", team.stack.postgres.options, "start")
        for name in ("mlflow", "prefect", *(["redis"] if team.stack.redis else [])):
            servers[name].down()
        until(lambda: said.read_text().count(AWAY.format("MLflow")) == 2)  # another process says it
        if team.stack.redis:
            servers["redis"].up()
        servers["mlflow"].up()
        until(lambda: AWAY.format("Prefect") in said.read_text())  # at the end of the flow run
        servers["prefect"].up()
        assert run.wait(timeout=300) == 0, said.read_text()
    finally:
        run.kill()
        for server in servers.values():
            server.up()

    record: dict[str, Any] = json.loads((team.folder / "run.json").read_text())
    assert (record["status"], outcomes(record)["ingest"]) == ("done", "made")
    ledger = PostgresLedger(team.stack.ledger)
    assert ledger.verify().ok
    assert [e.type for e in ledger.entries(record["run_id"])][-1] == Event.RUN_ENDED
    _nothing_is_lost(team, record, monkeypatch)


def _nothing_is_lost(team: OnStack, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every figure of the stage is in MLflow, and every run there has ended."""
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", PIPELINE[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PIPELINE[1])
    client = mlflow.MlflowClient(team.stack.mlflow)
    kept = json.loads((team.folder / "data/reports/ingest/record.json").read_text())
    told = client.get_run(kept["mlflow_run_id"])
    assert told.data.metrics == kept["metrics"] != {}
    assert told.info.status == "FINISHED"
    parent = client.get_run(record["mlflow_run_id"])
    assert (parent.info.status, parent.data.tags["stage.ingest"]) == ("FINISHED", "made")
    assert list(client.list_artifacts(parent.info.run_id, "records"))
    assert not list((team.folder / ".attestrl/undelivered").iterdir())
