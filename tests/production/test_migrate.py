"""A project that ran on one machine moves to PostgreSQL and an MLflow server: ids, artifacts and ledger are the same."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from governance.ledger import Ledger
from governance.postgres_ledger import PostgresLedger
from tests import servers
from tests.conftest import give_store
from tests.end_to_end.conftest import small_project

pytestmark = [pytest.mark.slow, pytest.mark.production]


@pytest.fixture(scope="module")
def postgres() -> Iterator[servers.Postgres]:
    with servers.postgres() as server:
        yield server


def test_history_ids_and_evidence_are_the_same_afterwards(
    tmp_path: Path, tiny_model_folder: Path, orchestrator: str, postgres: servers.Postgres
) -> None:
    import psycopg2

    project = small_project(tmp_path, tiny_model_folder, orchestrator)
    give_store(project.folder)
    assert project.run("--params", "tiny.yaml", "--until", "validate")["status"] == "done"
    admin = psycopg2.connect(postgres.url("postgres"))
    admin.autocommit = True
    for name in ("mlflow", "attestrl"):
        admin.cursor().execute(f"CREATE DATABASE {name}")
    admin.close()
    ledger, store = PostgresLedger(postgres.url("attestrl")), postgres.url("mlflow")
    arguments = ["--backend-store-uri", store, "--serve-artifacts", "--artifacts-destination", str(tmp_path / "kept")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with servers.mlflow(quiet, arguments, tmp_path / "log") as url:
        servers.wait_until(lambda: servers.answers(f"{url}/health"), tmp_path / "log")
        team = {"ATTESTRL_LEDGER_URL": ledger.url, "MLFLOW_TRACKING_URI": url}

        def command(*words: str) -> Any:
            return project.python("-m", "flows.cli", *words, env=project.environment | team)

        done = command("migrate", "--mlflow-database", store, "--json")
        assert done.returncode == 0, done.stderr
        moved = json.loads(done.stdout)
        here = Ledger(project.folder / ".attestrl/ledger.jsonl")
        assert list(ledger.lines()) == list(here.lines())
        assert moved["entries"] == len(list(here.lines()))
        assert moved["runs"] == 3
        verified = command("ledger", "verify", "--json")
        assert verified.returncode == 0, verified.stderr

        (record,) = json.loads(command("runs", "--json").stdout)
        api = f"{url}/api/2.0/mlflow"
        run = httpx.get(f"{api}/runs/get", params={"run_id": record["mlflow_run_id"]}).json()["run"]
        assert {t["key"]: t["value"] for t in run["data"]["tags"]}["attestrl.run_id"] == record["run_id"]
        assert run["info"]["artifact_uri"].startswith("mlflow-artifacts:/")
        listed = httpx.get(f"{api}/artifacts/list", params={"run_id": record["mlflow_run_id"], "path": "records"})
        assert "records/run.json" in [f["path"] for f in listed.json()["files"]]
        kept = next((tmp_path / "kept").rglob("run.json"))
        own = project.folder / ".attestrl/records" / record["run_id"] / "run.json"
        assert kept.read_bytes() == own.read_bytes()

        again = command("run", "--json", "--until", "validate")
        after = json.loads(again.stdout)
        assert {s["outcome"] for s in after["stages"][:2]} == {"cached"}
        assert after["mlflow_run_id"] != record["mlflow_run_id"]
        assert httpx.get(f"{api}/runs/get", params={"run_id": after["mlflow_run_id"]}).status_code == 200
        made = httpx.post(f"{api}/experiments/create", json={"name": "another"})
        assert made.status_code == 200, made.text

        twice = command("migrate", "--mlflow-database", store)
        assert twice.returncode == 2
        assert "holds entries" in twice.stderr
        assert command("ledger", "verify").returncode == 0
