"""Prometheus metrics of the monitor, as a text file for node_exporter's textfile collector; written whole or not."""

from pathlib import Path
from typing import Any


def write(
    path: Path,
    *,
    run_id: str,
    policy: str,
    counted: int,
    total: int,
    limit: float,
    read_at: float,
    series: list[dict[str, Any]],
) -> None:
    """Write the file. `series`: name, means of reference and latest responses, evidence of drift in years, alarms."""
    from prometheus_client import CollectorRegistry, Counter, Gauge, write_to_textfile

    registry = CollectorRegistry()

    def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"attestrl_monitor_{name}", text, ("run_id", "policy", *labels), registry=registry)

    own = {"run_id": run_id, "policy": policy}
    responses = Counter("attestrl_monitor_responses", "Responses counted.", ("run_id", "policy"), registry=registry)
    responses.labels(**own).inc(total)
    gauge("last_read_timestamp_seconds", "When logs were read.").labels(**own).set(read_at)
    gauge("last_read_responses", "Responses that the last call counted.").labels(**own).set(counted)
    gauge("evidence_limit_years", "Evidence at which a series raises an alarm.").labels(**own).set(limit)
    evidence = gauge("evidence_years", "Chance alone shows as much once in so many years.", ("series",))
    mean = gauge("mean", "Mean of a series over the latest responses.", ("series",))
    reference = gauge("reference_mean", "Mean of a series over its past since the last alarm.", ("series",))
    names = ("run_id", "policy", "series")
    alarms = Counter("attestrl_monitor_alarms", "Alarms that a series raised.", names, registry=registry)
    for s in series:
        labels = own | {"series": s["series"]}
        evidence.labels(**labels).set(s["evidence"])
        mean.labels(**labels).set(s["latest"])
        alarms.labels(**labels).inc(s["alarms"])
        if s["reference"] is not None:
            reference.labels(**labels).set(s["reference"])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(path), registry)
