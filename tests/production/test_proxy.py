"""The proxy of deploy/ before the servers of the stack: TLS, no upload without a limit, and no pickles."""

import http.client
import shutil
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests import servers
from tests.production.conftest import DEPLOY, PIPELINE, SECRETS, Stack
from tests.production.test_stack import basic, call

pytestmark = [pytest.mark.slow, pytest.mark.production, pytest.mark.xdist_group("stack")]
LIMIT = 20 << 30  # of deploy/nginx.conf


@dataclass(frozen=True)
class Proxy:
    """Where it listens, and the certificate that it shows."""

    mlflow: int
    prefect: int
    certificate: Path

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))

    def put(self, name: str, content: bytes) -> int:
        """Status of an upload to MLflow by the pipeline's user."""
        url = f"https://127.0.0.1:{self.mlflow}/api/2.0/mlflow-artifacts/artifacts/{name}"
        return httpx.put(url, content=content, auth=PIPELINE, verify=self.tls, timeout=60).status_code


@pytest.fixture(scope="module")
def proxy(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("proxy")
    shutil.copy2(DEPLOY / "make_secrets.sh", folder)
    subprocess.run(["sh", str(folder / "make_secrets.sh")], check=True)
    made = Proxy(servers.free_port(), servers.free_port(), folder / "secrets/tls_certificate")
    site = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    for name, here in (
        ("http://mlflow:5000", stack.mlflow),
        ("http://prefect:4200", stack.prefect.removesuffix("/api")),
        ("/run/secrets/", f"{folder}/secrets/"),
        ("listen 5443 ", f"listen 127.0.0.1:{made.mlflow} "),
        ("listen 4443 ", f"listen 127.0.0.1:{made.prefect} "),
    ):
        assert name in site, name
        site = site.replace(name, here)
    with servers.nginx(site, folder, made.mlflow):
        yield made


@pytest.fixture(scope="module")
def place(stack: Stack) -> str:
    """Where artifacts of a run of the pipeline's are, as uploads name it."""
    made = call(stack, "experiments/create", PIPELINE, name=f"uploads-{uuid.uuid4()}").raise_for_status().json()
    run = call(stack, "runs/create", PIPELINE, experiment_id=made["experiment_id"], start_time=0).json()["run"]
    return str(run["info"]["artifact_uri"]).removeprefix("mlflow-artifacts:/")


def test_who_may_is_served_by_tls_alone(proxy: Proxy, place: str) -> None:
    ask = {"limit": 1}
    url = f"https://127.0.0.1:{proxy.prefect}/api/flows/filter"
    assert httpx.post(url, json=ask, verify=proxy.tls).status_code == 401
    assert httpx.post(url, json=ask, verify=proxy.tls, headers=basic(SECRETS["PREFECT_AUTH"])).status_code == 200
    with pytest.raises(httpx.ConnectError, match="certificate"):
        httpx.post(url, json=ask)
    assert httpx.get(f"http://127.0.0.1:{proxy.mlflow}/health").status_code == 400
    assert proxy.put(f"{place}/model.safetensors", b"weights") == 200


def test_an_oversized_upload_is_refused_before_it_is_sent(proxy: Proxy, place: str) -> None:
    connection = http.client.HTTPSConnection("127.0.0.1", proxy.mlflow, context=proxy.tls, timeout=60)
    connection.putrequest("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{place}/model.safetensors")
    for name, value in {"Content-Length": str(LIMIT + 1), **basic(":".join(PIPELINE))}.items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_one_that_does_not_say_how_large_it_is_ends_at_the_limit(proxy: Proxy) -> None:
    chunks = (bytes(1 << 20) for _ in range(17))
    url = f"https://127.0.0.1:{proxy.prefect}/api/flows/filter"
    answer = httpx.post(url, content=chunks, verify=proxy.tls, headers=basic(SECRETS["PREFECT_AUTH"]))
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "name", ["python_model.pkl", "MODEL.PKL", "model%2Epkl", "pytorch_model.bin", "a/optimizer.pt"]
)
def test_files_that_run_code_are_not_taken(proxy: Proxy, place: str, name: str) -> None:
    assert proxy.put(f"{place}/{name}", b"\x80\x04.") == 403


def test_a_pickled_model_is_neither_taken_nor_loaded(
    stack: Stack, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the proxy it is not taken; one that came by another way is not loaded where the project's environment is."""
    import mlflow
    from requests.exceptions import HTTPError

    mark = tmp_path / "code was run"

    class Model(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def load_context(self, context: object) -> None:
            mark.touch()

        def predict(self, model_input: list[str]) -> list[str]:
            return model_input

    for name, value in zip(("USERNAME", "PASSWORD"), PIPELINE, strict=True):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(proxy.certificate))
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")  # of whoever would do harm
    folder = tmp_path / "model"
    mlflow.pyfunc.save_model(folder, python_model=Model(), pip_requirements=[])
    client = mlflow.MlflowClient(f"https://127.0.0.1:{proxy.mlflow}")
    run = client.create_run(client.create_experiment(f"pickles-{uuid.uuid4()}"))
    with pytest.raises(HTTPError, match="kept as safetensors"):
        client.log_artifacts(run.info.run_id, str(folder), "model")

    direct = mlflow.MlflowClient(stack.mlflow)
    run = direct.create_run(run.info.experiment_id)
    direct.log_artifacts(run.info.run_id, str(folder), "model")
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")  # tasks/environment.py
    mlflow.set_tracking_uri(stack.mlflow)
    with pytest.raises(mlflow.exceptions.MlflowException, match=r"[Pp]ickle"):
        mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    assert not mark.exists()
