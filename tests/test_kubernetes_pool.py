"""Jobs of a Kubernetes pool: rendered by Prefect's own worker from `deploy/kubernetes-pool.json`, checked strictly against
Kubernetes' schemas. No cluster runs them here."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from uuid import UUID

import pytest
import yaml
from kubernetes_validate import validate

from flows import elsewhere
from tasks import operating_params
from tests.conftest import ROOT

KUBERNETES = "1.37"
POOL = "cluster"
TEMPLATE = json.loads((ROOT / "deploy/kubernetes-pool.json").read_text(encoding="utf-8"))
OBJECTS = list(yaml.safe_load_all((ROOT / "deploy/kubernetes-worker.yaml").read_text(encoding="utf-8")))
(WORKER,) = next(o for o in OBJECTS if o["kind"] == "Deployment")["spec"]["template"]["spec"]["containers"]
TOKEN = "admin:not-for-manifests"


@pytest.fixture
def client(orchestrator: str) -> Iterator[Any]:
    """Of a Prefect server that has the pool."""
    from prefect import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: orchestrator}), get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="kubernetes", base_job_template=TEMPLATE))
        yield client
        client.delete_work_pool(POOL)


class Cluster(BaseHTTPRequestHandler):
    """SIMULATED: takes jobs as the API of a cluster does, and runs none."""

    jobs: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path.startswith("/apis/batch/v1/namespaces/attestrl/jobs")
        self.jobs.append(json.loads(body))
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    settings = {v["name"]: v["value"] for v in WORKER["env"] if "OBSERVER" not in v["name"]}
    for name, value in (settings | {"PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_ENABLED": "false"}).items():
        monkeypatch.setenv(name, value)
    with ThreadingHTTPServer(("127.0.0.1", 0), Cluster) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def job(client: Any, cluster: str, need: operating_params.Need) -> dict[str, Any]:
    """What Prefect's worker sends to the cluster for a stage that needs this."""
    from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings

    order = {"need": need.model_dump()}
    deployment, in_cluster = elsewhere._deployment(client, POOL)
    assert in_cluster
    run = client.create_flow_run_from_deployment(
        deployment, parameters={"order": order}, job_variables=elsewhere._variables(order["need"])
    )
    with temporary_settings({PREFECT_API_AUTH_STRING: TOKEN}):
        asyncio.run(sent(cluster, run.id))
    return Cluster.jobs.pop()


async def sent(cluster: str, run: UUID) -> None:
    from kubernetes_asyncio.client import ApiClient, Configuration
    from prefect_kubernetes.worker import KubernetesWorker

    async with KubernetesWorker(work_pool_name=POOL) as worker, ApiClient(Configuration(host=cluster)) as api:
        await worker.sync_with_backend()
        configuration = await worker.job_configuration.resolve_for_flow_run(
            await worker.client.read_flow_run(run), client=worker.client, work_pool=worker.work_pool, worker_name="here"
        )
        await worker._create_job(configuration, api)


def test_a_stage_gets_the_gpus_and_the_memory_that_it_needs(client: Any, cluster: str) -> None:
    need = operating_params.Need(device="gpu", number=2, memory_gb=1.5, pool=POOL)
    manifest = job(client, cluster, need)
    assert validate(manifest, KUBERNETES, strict=True) == KUBERNETES
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    asked = {"memory": "1500M", "nvidia.com/gpu": 2}
    assert container["resources"]["limits"] == asked
    assert container["resources"]["requests"] == asked | {"cpu": "2"}
    assert container["args"] == ["prefect", "flow-run", "execute"]
    # the run itself gives the order again: neither Kubernetes nor Prefect does
    never = (manifest["spec"]["backoffLimit"], manifest["spec"]["podReplacementPolicy"], pod["restartPolicy"])
    assert never == (0, "Failed", "Never")
    variables = {v["name"]: v.get("value") for v in container["env"]}
    assert variables["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "crash"


def test_no_token_stands_in_a_manifest(client: Any, cluster: str) -> None:
    manifest = job(client, cluster, operating_params.Need(pool=POOL))
    assert validate(manifest, KUBERNETES, strict=True) == KUBERNETES
    assert TOKEN not in json.dumps(manifest)
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    variables = {v["name"]: v for v in container["env"]}
    assert variables["PREFECT_API_AUTH_STRING"]["valueFrom"]["secretKeyRef"]["name"] == "attestrl-worker"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 0


def test_the_worker_may_do_what_it_does_in_its_namespace_and_no_more() -> None:
    assert [validate(o, KUBERNETES, strict=True) for o in OBJECTS] == [KUBERNETES] * len(OBJECTS)
    kinds = {o["kind"]: o for o in OBJECTS}
    assert not any(kind.startswith("Cluster") for kind in kinds)
    assert not any("secrets" in rule["resources"] or "*" in rule["verbs"] for rule in kinds["Role"]["rules"])
    assert WORKER["image"] == TEMPLATE["variables"]["properties"]["image"]["default"]
