"""The production stack refuses whoever may not, and serves whoever may."""

import base64
import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from governance.entry import Event
from governance.errors import MissingComponent
from governance.postgres_ledger import PostgresLedger
from tests.end_to_end.conftest import copy_project
from tests.production.conftest import PIPELINE, READER, SECRETS, Stack, administer

pytestmark = [pytest.mark.slow, pytest.mark.production, pytest.mark.xdist_group("stack")]


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def test_prefect_answers_only_to_its_token(stack: Stack) -> None:
    ask = {"limit": 1}
    url = f"{stack.prefect}/flows/filter"
    assert httpx.post(url, json=ask).status_code == 401
    assert httpx.post(url, json=ask, headers=basic("admin:guess")).status_code == 401
    assert httpx.post(url, json=ask, headers=basic(SECRETS["PREFECT_AUTH"])).status_code == 200
    assert httpx.get(f"{stack.prefect}/health").status_code == 200


def call(stack: Stack, path: str, user: tuple[str, str] | None, **body: Any) -> httpx.Response:
    return httpx.post(f"{stack.mlflow}/api/2.0/mlflow/{path}", json=body, auth=user, timeout=30)


@pytest.fixture(scope="module")
def run_id(stack: Stack) -> str:
    """A run of the pipeline's, in an experiment that the reader may read."""
    made = call(stack, "experiments/create", PIPELINE, name=f"audited-{uuid.uuid4()}").raise_for_status().json()
    identity = made["experiment_id"]
    permission = {"resource_type": "experiment", "resource_id": identity, "permission": "READ"}
    administer(stack.mlflow, "3.0/mlflow/users/permissions/grant", permission | {"username": READER[0]})
    run = call(stack, "runs/create", PIPELINE, experiment_id=identity, start_time=0).raise_for_status().json()
    return str(run["run"]["info"]["run_id"])


def test_mlflow_knows_its_users(stack: Stack, run_id: str) -> None:
    get = f"{stack.mlflow}/api/2.0/mlflow/runs/get?run_id={run_id}"
    assert httpx.get(get).status_code == 401
    assert httpx.get(get, auth=("pipeline", "guess")).status_code == 401
    assert httpx.get(get, auth=READER).status_code == 200
    tag = {"run_id": run_id, "key": "attestrl.gate", "value": "pass"}
    assert call(stack, "runs/set-tag", READER, **tag).status_code == 403
    assert call(stack, "runs/delete", READER, run_id=run_id).status_code == 403
    assert call(stack, "runs/set-tag", PIPELINE, **tag).status_code == 200
    assert call(stack, "users/update-admin", READER, username=READER[0], is_admin=True).status_code == 403


def test_a_form_on_another_site_does_nothing(stack: Stack) -> None:
    """Browsers send what they remember of a login with a form of any site."""
    fields = {"username": "eve", "password": "password-of-eve"}
    admin = ("admin", SECRETS["MLFLOW_ADMIN_PASSWORD"])
    for headers in ({}, {"Origin": "http://evil.example", "Referer": "http://evil.example/"}):
        answer = httpx.post(f"{stack.mlflow}/api/2.0/mlflow/users/create-ui", data=fields, auth=admin, headers=headers)
        assert answer.status_code >= 400, answer.text
    known = httpx.get(f"{stack.mlflow}/api/2.0/mlflow/users/get?username=eve", auth=admin)
    assert known.status_code == 404


@pytest.mark.parametrize("name", ["../../outside.txt", "..%2F..%2Foutside.txt", "%2Fetc%2Foutside.txt", "a/../../../b"])
def test_artifacts_stay_where_they_belong(stack: Stack, name: str) -> None:
    url = f"{stack.mlflow}/api/2.0/mlflow-artifacts/artifacts/"
    request = httpx.Request("PUT", url + name, content=b"x", headers=basic(":".join(PIPELINE)))
    # httpx would tidy the path up before it leaves
    request.url = request.url.copy_with(raw_path=f"/api/2.0/mlflow-artifacts/artifacts/{name}".encode())
    with httpx.Client() as client:
        assert client.send(request).status_code >= 400


def test_the_pipeline_adds_to_the_ledger_and_changes_nothing_in_it(stack: Stack) -> None:
    import psycopg2

    ledger = PostgresLedger(stack.ledger)
    for n in range(2):
        ledger.append(Event.KEY_MADE, run_id="", actor="user:a", subject_digests={}, data={"n": n})
    assert ledger.verify().entries >= 2
    statements = (
        "UPDATE attestrl_ledger SET line = ''",
        "DELETE FROM attestrl_ledger",
        "TRUNCATE attestrl_ledger",
        "DROP TABLE attestrl_ledger",
        "CREATE TABLE other (x int)",
    )
    for statement in statements:
        database = psycopg2.connect(stack.ledger)
        with pytest.raises(psycopg2.errors.InsufficientPrivilege), database, database.cursor() as cursor:
            cursor.execute(statement)
        database.close()
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(stack.postgres.url("mlflow", "attestrl", SECRETS["PIPELINE_PASSWORD"]))
    wrong = stack.postgres.url("attestrl", "attestrl", "guess")
    with pytest.raises(MissingComponent):
        list(PostgresLedger(wrong).lines())
    assert ledger.verify().ok


def test_the_doctor_knows_a_stack_that_is_whole(stack: Stack, tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    remote = [sys.executable, "-m", "dvc", "remote", "add", "-d", "team", str(tmp_path / "remote")]
    subprocess.run(remote, cwd=project, check=True, capture_output=True)

    def findings(**changed: str) -> dict[str, bool]:
        command = [sys.executable, "-m", "flows.cli", "doctor", "--production", "--json"]
        environment = stack.environment | changed
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        return {f["what"]: f["ok"] for f in json.loads(done.stdout)}

    names = ("Prefect server", "Prefect server: password", "MLflow server", "MLflow server: password")
    every = dict.fromkeys((*names, "ledger", "ledger: rights", "DVC remote"), True)
    whole = findings()
    assert {k: whole[k] for k in every} == every
    owner = stack.postgres.url("attestrl")
    wrong = findings(PREFECT_API_AUTH_STRING="a:b", MLFLOW_TRACKING_PASSWORD="guess", ATTESTRL_LEDGER_URL=owner)
    assert [k for k in every if not wrong[k]] == ["Prefect server", "MLflow server", "ledger: rights"]


def test_the_servers_keep_their_state_in_postgres(stack: Stack) -> None:
    import psycopg2

    for database, user, table in (("prefect", "prefect", "flow_run"), ("mlflow", "mlflow", "experiments")):
        password = SECRETS[f"{user.upper()}_PASSWORD"]
        connection = psycopg2.connect(stack.postgres.url(database, user, password))
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass(%s)", (table,))
            assert cursor.fetchone() == (table,)
        connection.close()
