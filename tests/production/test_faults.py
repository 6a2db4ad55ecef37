"""Runs through the stack while its servers are away: nothing is lost, and a sentence says so."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from governance.digest import sha256_path
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
OUTAGE = 120
UPDATES = 12
PATIENT = {
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "6",
}  # as long, and an attempt half a minute after an outage's end instead of two minutes
AWAY = "the {} server does not answer; waiting for it"


@dataclass(frozen=True)
class OnStack(Project):
    """A project whose servers are the stack's."""

    stack: Stack

    @property
    def environment(self) -> dict[str, str]:
        return self.stack.environment | SOONER

    def start(self, until: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """A run that writes into `run.json` and `said`."""
        command = [sys.executable, "-m", "flows.cli", "run", "--json", "--until", until, *arguments]
        with (self.folder / "said").open("w") as err, (self.folder / "run.json").open("w") as out:
            return subprocess.Popen(
                command, cwd=self.folder, env=self.environment | environment, stdout=out, stderr=err
            )


@pytest.fixture(scope="module")
def team(stack: Stack, tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> OnStack:
    folder = small_project(tmp_path_factory.mktemp("faults"), tiny_model_folder, stack.prefect).folder
    return OnStack(folder, stack.prefect, stack)


def test_a_run_outlives_every_server(team: OnStack, monkeypatch: pytest.MonkeyPatch) -> None:
    servers, said = team.stack.servers, team.folder / "said"
    servers["mlflow"].down()
    run = team.start("ingest", "--params", "tiny.yaml")

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
    _nothing_is_lost(team, record, "ingest", monkeypatch)


def _nothing_is_lost(team: OnStack, record: dict[str, Any], stage: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Every figure of the stage is in MLflow, and every run there has ended; gives the client that says so."""
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", PIPELINE[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PIPELINE[1])
    client = mlflow.MlflowClient(team.stack.mlflow)
    kept = json.loads((team.folder / f"data/reports/{stage}/record.json").read_text())
    told = client.get_run(kept["mlflow_run_id"])
    assert told.data.metrics == kept["metrics"] != {}
    assert told.info.status == "FINISHED"
    parent = client.get_run(record["mlflow_run_id"])
    assert (parent.info.status, parent.data.tags[f"stage.{stage}"]) == ("FINISHED", "made")
    assert list(client.list_artifacts(parent.info.run_id, "records"))
    assert not list((team.folder / ".attestrl/undelivered").iterdir())
    below = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    assert {r.info.status for r in client.search_runs([parent.info.experiment_id], below)} == {"FINISHED"}
    return client


@pytest.fixture(scope="module")
def trained(stack: Stack, tmp_path_factory: pytest.TempPathFactory, first: dict[str, Any], project: Project) -> OnStack:
    """A copy of a project that has run, whose `ppo` alone is to be made, and longer."""
    folder = tmp_path_factory.mktemp("outages") / "project"
    shutil.copytree(project.folder, folder, ignore=shutil.ignore_patterns(".attestrl"))
    settings = yaml.safe_load((folder / "params.yaml").read_text())
    settings["ppo"].update(episodes=16 * UPDATES, save_steps=1)
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    return OnStack(folder, stack.prefect, stack)


def test_two_minutes_without_mlflow_at_the_start_middle_and_end_of_a_stage(
    trained: OnStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, said = trained.folder, trained.folder / "said"
    run = trained.start("ppo", **PATIENT)

    def until(ready: Callable[[], bool]) -> None:
        """While the run goes on; looked at often, as a stage that has done its work tells of it within a second."""
        while not ready():
            assert run.poll() is None, said.read_text()
            time.sleep(0.01)

    @contextmanager
    def away() -> Iterator[None]:
        trained.stack.servers["mlflow"].down()
        time.sleep(OUTAGE)
        yield
        assert run.poll() is None, said.read_text()
        trained.stack.servers["mlflow"].up()

    receipt, record = folder / ".attestrl/receipts", folder / "data/reports/ppo/record.json"
    checkpoints, policy = folder / ".attestrl/checkpoints/ppo", folder / "data/models/policy/lineage.json"
    try:
        until(lambda: any(receipt.glob("ppo-*.json")))
        with away():
            assert not any(checkpoints.glob("*/*"))  # it has not even begun
        until(lambda: any(checkpoints.glob("*/checkpoint-2")))
        with away():
            assert not any(checkpoints.glob(f"*/checkpoint-{UPDATES}"))  # its table of samples waits
        until(policy.is_file)
        with away():
            assert not record.is_file()  # which is written when all but the end was told
        run.wait(timeout=400)
    finally:
        run.kill()
        trained.stack.servers["mlflow"].up()
    result: dict[str, Any] = json.loads((folder / "run.json").read_text())
    assert (result["status"], outcomes(result)["ppo"]) == ("done", "made"), said.read_text()
    assert said.read_text().count(AWAY.format("MLflow")) == 3
    _all_of_the_training_is_told(trained, _nothing_is_lost(trained, result, "ppo", monkeypatch))


def _all_of_the_training_is_told(trained: OnStack, client: Any) -> None:
    """Curves, samples, picture, and the policy, byte for byte."""
    import mlflow

    report = trained.folder / "data/reports/ppo"
    kept = json.loads((report / "record.json").read_text())
    run_id, model_id = kept["mlflow_run_id"], kept["models"]["data/models/policy"]
    history = [json.loads(line) for line in (report / "history.jsonl").read_text().splitlines()]
    assert len(history) == UPDATES
    for name in kept["metrics"]:
        curve = {m.step: m.value for m in client.get_metric_history(run_id, name)}
        assert curve == {row["step"]: row[name] for row in history if name in row}, name
    mlflow.set_tracking_uri(trained.stack.mlflow)
    samples = [list(json.loads(line).values())[:3] for line in (report / "samples.jsonl").read_text().splitlines()]
    table = mlflow.artifacts.load_dict(f"runs:/{run_id}/samples.json")["data"]
    assert [row[:3] for row in table] == samples != []  # step, prompt, response; numbers are rounded there
    assert "curves.png" in [a.path for a in client.list_artifacts(run_id)]
    there = mlflow.artifacts.download_artifacts(f"models:/{model_id}")
    assert sha256_path(Path(there)) == sha256_path(trained.folder / "data/models/policy")
    (version,) = client.search_model_versions(f"run_id = '{run_id}'")
    assert str(version.version) == kept["notes"]["registered"]["version"]
