"""`ppo` on a worker of another user, who can read nothing of the project: what they share are Prefect, MLflow, the repository and
the DVC remote, each behind a server."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from governance.digest import sha256_path
from tests import servers
from tests.another_user import another_user
from tests.end_to_end.conftest import Project, outcomes
from tests.production.workers import publish, worker
from tests.servers import wait_until
from tests.typed import clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.production, pytest.mark.xdist_group("pipeline")]
POOL = "theirs"
BUCKET = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def user() -> dict[str, Any]:
    """Whose worker it is."""
    pytest.importorskip("dvc_s3")
    return another_user()


@pytest.fixture
def shared(user: dict[str, Any], orchestrator: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Addresses of what both reach. Pytest's own folders are closed to others."""
    with ExitStack() as running:
        bucket = running.enter_context(servers.s3())
        port, store = servers.free_port(), tmp_path / "mlflow"
        git = ["git", "daemon", f"--base-path={tmp_path}", "--export-all", "--enable=receive-pack"]
        running.enter_context(servers.program([*git, "--listen=127.0.0.1", f"--port={port}"], {}, tmp_path / "git.log"))
        places = ["--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db", "--serve-artifacts"]
        mlflow = servers.mlflow({}, [*places, "--artifacts-destination", str(store)], tmp_path / "mlflow.log")
        tracking = running.enter_context(mlflow)
        wait_until(lambda: servers.answers(f"{tracking}/health"), tmp_path / "mlflow.log")
        yield {
            "PREFECT_API_URL": orchestrator,
            "MLFLOW_TRACKING_URI": tracking,
            "origin": f"git://127.0.0.1:{port}/origin.git",
            "bucket": bucket,
        }


@pytest.fixture
def team(shared: dict[str, str], first: dict[str, Any], project: Project, tmp_path: Path) -> Path:
    """A project that has run, whose `ppo` needs a worker."""
    import boto3

    secrets = {"aws_access_key_id": "k", "aws_secret_access_key": "s", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=shared["bucket"], **secrets).create_bucket(Bucket="team")
    folder = tmp_path / "team"
    shutil.copytree(project.folder, folder, ignore=shutil.ignore_patterns(".attestrl"))
    settings = yaml.safe_load((folder / "params.yaml").read_text())
    settings["placement"].update(stages={"ppo": {"pool": POOL}})
    settings["ppo"]["learning_rate"] = 2 * settings["ppo"]["learning_rate"]  # so that there is something to do
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "origin.git")], check=True)
    publish(folder, shared["origin"], "s3://team/dvc", endpointurl=shared["bucket"])
    return folder


def test_their_worker_trains_what_it_can_only_fetch(team: Path, shared: dict[str, str], user: dict[str, Any]) -> None:
    import mlflow

    served = {name: shared[name] for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")}
    environment = clean_environment() | served | BUCKET
    closed = subprocess.run(["ls", str(team)], **user, capture_output=True, check=False)
    assert closed.returncode != 0, "they can read the project"
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        place = Path(name) / "worker"
        with worker(place, environment, POOL, user):
            run = subprocess.run(
                [sys.executable, "-m", "flows.cli", "run", "--json", "--until", "ppo"],
                cwd=team, env=environment, capture_output=True, text=True, timeout=500, check=False,
            )  # fmt: skip
        assert run.returncode == 0, (run.stderr[-2000:], (place / "log").read_text()[-3000:])
    record = json.loads(run.stdout)
    assert outcomes(record)["ppo"] == "made"
    policy = next(o for s in record["stages"] for o in s["outputs"] if o["path"] == "data/models/policy")
    assert policy["sha256"] == sha256_path(team / "data/models/policy")
    stage = next(s for s in record["stages"] if s["name"] == "ppo")
    made = mlflow.MlflowClient(shared["MLFLOW_TRACKING_URI"]).get_run(stage["mlflow_run_id"])
    assert made.info.status == "FINISHED"
    assert made.data.tags["mlflow.user"] == pwd.getpwuid(user["user"]).pw_name != pwd.getpwuid(os.getuid()).pw_name
