"""OpenTelemetry traces of runs: a span of the run, and in it Prefect's own of the flow and of every stage.

They are sent where the environment says (OTEL_EXPORTER_OTLP_ENDPOINT and its companions); without it nothing is imported.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from flows.stages import Outcome

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
LAST_WAIT = 5000  # milliseconds that a run waits for the collector at its end; what is not sent by then is lost


@contextmanager
def traced(run_id: str) -> Iterator[None]:
    """Trace what runs inside, if the environment names a collector. One that is away costs spans, never the run."""
    if not any(os.environ.get(name) for name in ENDPOINTS):
        yield
        return
    from opentelemetry import trace
    from prefect.settings import PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY, temporary_settings

    provider = _provider()
    attributes = {"attestrl.run_id": run_id}
    try:
        with (
            temporary_settings({PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY: True}),
            trace.get_tracer("attestrl").start_as_current_span("attestrl run", attributes=attributes),
        ):
            yield
    finally:
        provider.force_flush(LAST_WAIT)


def describe(outcome: Outcome) -> None:
    """Say on the span that is open how a stage ended; nothing happens where there is none. Prefect calls the span of a task
    that returns its failure a success."""
    from opentelemetry import trace

    said: dict[str, str | int] = {"attestrl.outcome": outcome.outcome, "attestrl.exit_code": outcome.exit_code}
    said |= {f"attestrl.output.{o['path']}": o["sha256"] for o in outcome.outputs}
    said |= {"attestrl.mlflow_run_id": outcome.mlflow_run_id} if outcome.mlflow_run_id else {}
    said |= {"attestrl.message": outcome.message} if outcome.message else {}
    trace.get_current_span().set_attributes(said)


def failed(message: str) -> None:
    """Say on the span that is open that it failed."""
    from opentelemetry import trace

    trace.get_current_span().set_status(trace.StatusCode.ERROR, message)


@cache
def _provider() -> Any:
    """OpenTelemetry takes one for the life of a process."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME", "attestrl")
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider
