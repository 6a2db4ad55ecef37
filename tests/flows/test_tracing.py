"""Spans of a run reach a collector that speaks OTLP over HTTP, here a server that keeps what it is sent."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.typed import clean_environment

ROOT = Path(__file__).resolve().parents[2]
FLOW = """
from prefect import flow, task
from prefect.states import Completed, Failed
from flows import tracing
from flows.stages import Outcome

@task(task_run_name="{name}")
def stage(name, outcome):
    made = Outcome(name, outcome, 1.0, "0123", [{"path": "data/models/sft", "sha256": "ab" * 32}], {}, "disk full", 3)
    tracing.describe(made)
    return Failed(message=made.message) if outcome == "failed" else Completed()

@flow(name="attestrl-pipeline")
def pipeline():
    stage("sft", "made", return_state=True)
    return stage("reward", "failed", return_state=True)

with tracing.traced("20260101T000000Z-aaaa1111"):
    pipeline(return_state=True)
    tracing.failed("reward: disk full")
"""


class Collector(ThreadingHTTPServer):
    """Keeps every span."""

    def __init__(self) -> None:
        self.spans: dict[str, Span] = {}
        self.services: set[str] = set()
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in sent.resource_spans:
            self.server.services |= {
                a.value.string_value for a in resource.resource.attributes if a.key == "service.name"
            }
            self.server.spans |= {span.name: span for scope in resource.scope_spans for span in scope.spans}
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def traced_flow(orchestrator: str, endpoint: str) -> subprocess.CompletedProcess[str]:
    environment = clean_environment() | {"PREFECT_API_URL": orchestrator, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    command = [sys.executable, "-c", FLOW]
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=120, capture_output=True, text=True)


def test_a_span_of_the_run_and_one_of_every_stage(orchestrator: str, collector: Collector) -> None:
    traced_flow(orchestrator, f"http://127.0.0.1:{collector.server_port}")
    spans = collector.spans
    run, sft, reward = spans["attestrl run"], spans["sft"], spans["reward"]
    (flow,) = [s for name, s in spans.items() if name not in ("attestrl run", "sft", "reward")]
    assert collector.services == {"attestrl"}
    assert {s.trace_id for s in spans.values()} == {run.trace_id}
    assert (flow.parent_span_id, sft.parent_span_id, reward.parent_span_id) == (run.span_id, flow.span_id, flow.span_id)
    said = {a.key: a.value.string_value for a in sft.attributes}
    assert said["attestrl.outcome"] == "made" and said["attestrl.output.data/models/sft"] == "ab" * 32
    assert {a.key: a.value.string_value for a in run.attributes} == {"attestrl.run_id": "20260101T000000Z-aaaa1111"}
    failed = {a.key: a.value.string_value or a.value.int_value for a in reward.attributes}
    assert (failed["attestrl.outcome"], failed["attestrl.exit_code"], failed["attestrl.message"]) == (
        "failed",
        3,
        "disk full",
    )
    assert (run.status.code, run.status.message) == (Status.STATUS_CODE_ERROR, "reward: disk full")


def test_a_collector_that_is_away_costs_spans_alone(orchestrator: str) -> None:
    started = time.monotonic()
    traced_flow(orchestrator, "http://127.0.0.1:9")
    assert time.monotonic() - started < 60
