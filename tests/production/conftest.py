"""The production stack on this machine: PostgreSQL, Prefect and MLflow servers with authentication, set up from deploy/."""

import shutil
import string
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import servers
from tests.typed import clean_environment

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SECRETS = {
    "PREFECT_PASSWORD": "of-prefect",
    "MLFLOW_PASSWORD": "of-mlflow",
    "PIPELINE_PASSWORD": "of-the-pipeline",
    "PREFECT_AUTH": "admin:of-the-api",
    "MLFLOW_ADMIN_PASSWORD": "of-the-administrator",
    "MLFLOW_SECRET": "signs-forms",
    "REDIS_PASSWORD": "of-redis",
}
PIPELINE, READER = ("pipeline", "password-of-the-pipeline"), ("reader", "password-of-the-reader")


@dataclass(frozen=True)
class Stack:
    """Where the servers are, and how the pipeline logs in."""

    postgres: servers.Postgres
    prefect: str
    mlflow: str
    redis: bool
    servers: dict[str, servers.Server]

    @property
    def ledger(self) -> str:
        return self.postgres.url("attestrl", "attestrl", SECRETS["PIPELINE_PASSWORD"])

    @property
    def environment(self) -> dict[str, str]:
        """Of the machine on which the pipeline runs."""
        return clean_environment() | {
            "PREFECT_API_URL": self.prefect,
            "PREFECT_API_AUTH_STRING": SECRETS["PREFECT_AUTH"],
            "MLFLOW_TRACKING_URI": self.mlflow,
            "MLFLOW_TRACKING_USERNAME": PIPELINE[0],
            "MLFLOW_TRACKING_PASSWORD": PIPELINE[1],
            "ATTESTRL_LEDGER_URL": self.ledger,
        }


def filled(name: str, values: dict[str, str]) -> list[str]:
    """Lines of a file of deploy/, without its comments, with its ${…} filled in."""
    lines = (DEPLOY / name).read_text(encoding="utf-8").splitlines()
    return [string.Template(line).substitute(values) for line in lines if not line.startswith("#")]


def settings(name: str, values: dict[str, str]) -> dict[str, str]:
    """An environment file of deploy/."""
    return dict(line.split("=", 1) for line in filled(name, values))


def has_redis() -> bool:
    try:
        import prefect_redis  # noqa: F401
    except ImportError:
        return False
    return shutil.which("redis-server") is not None


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The servers, for all tests that want them."""
    pytest.importorskip("flask_wtf", reason="MLflow's users need its extra `auth`")
    with started(tmp_path_factory.mktemp("stack")) as servers_:
        yield servers_


@contextmanager
def started(folder: Path) -> Iterator[Stack]:
    """The servers, with what they keep outside PostgreSQL in `folder`; Redis takes part where it is installed."""
    ports = {name: servers.free_port() for name in ("redis", "prefect", "mlflow")}
    every: dict[str, servers.Server] = {}
    with ExitStack() as running:

        def start(name: str, make: Callable[..., AbstractContextManager[Any]], *arguments: Any) -> Any:
            every[name] = servers.Server(lambda: make(*arguments, port=ports[name]))
            running.callback(every[name].down)
            return every[name].up()

        database = running.enter_context(servers.postgres())
        database.psql(
            DEPLOY / "postgres.sql",
            prefect_password=SECRETS["PREFECT_PASSWORD"],
            mlflow_password=SECRETS["MLFLOW_PASSWORD"],
            pipeline_password=SECRETS["PIPELINE_PASSWORD"],
        )
        values = SECRETS | {
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": str(database.port),
            "MLFLOW_AUTH_CONFIG": str(folder / "auth.ini"),
        }
        orchestrator = settings("prefect.env", values) | {"PREFECT_HOME": str(folder / "prefect")}
        if has_redis():
            port = start("redis", servers.redis, SECRETS["REDIS_PASSWORD"])
            orchestrator |= settings("prefect-redis.env", values | {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port)})
        (folder / "auth.ini").write_text("\n".join(filled("mlflow-auth.ini", values)))
        store = database.url("mlflow", "mlflow", SECRETS["MLFLOW_PASSWORD"])
        users = ["--app-name", "basic-auth", "--backend-store-uri", store, "--serve-artifacts"]
        users += ["--artifacts-destination", str(folder / "artifacts")]
        api = start("prefect", servers.prefect, orchestrator, folder / "prefect.log")
        tracking = start("mlflow", servers.mlflow, settings("mlflow.env", values), users, folder / "mlflow.log")
        servers.wait_until(lambda: servers.answers(f"{api}/health"), folder / "prefect.log")
        servers.wait_until(lambda: servers.answers(f"{tracking}/health"), folder / "mlflow.log")
        for name, password in (PIPELINE, READER):
            body = {"username": name, "password": password}
            administer(tracking, "2.0/mlflow/users/create", body)
        yield Stack(database, api, tracking, has_redis(), every)


def administer(tracking: str, path: str, body: dict[str, Any]) -> None:
    """Call MLflow as its administrator."""
    administrator = ("admin", SECRETS["MLFLOW_ADMIN_PASSWORD"])
    httpx.post(f"{tracking}/api/{path}", json=body, auth=administrator, timeout=60).raise_for_status()
