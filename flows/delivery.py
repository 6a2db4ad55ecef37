"""What MLflow is told when a run is over: the alias of its candidate, and a summary on the parent run.

Evidence rests on none of it. A run whose MLflow server stays away is over all the same: what was to be told is marked in
`<home>/undelivered`, and told when the next run begins.
"""

import json
import sys
import time
from typing import Any

from flows import release, sealing
from governance.entry import Event
from governance.errors import MissingComponent, explained
from tasks import lineage, params, paths


def deliver(record: dict[str, Any]) -> None:
    """Tell MLflow how a run ended, now or, if its server is away, with the next run."""
    if not record["mlflow_run_id"]:
        return
    mark = paths.home() / "undelivered" / record["run_id"]
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    try:
        _tell(record)
    except Exception as error:
        known = explained(error)
        if not isinstance(known, MissingComponent):
            raise
        print(f"attestrl: run {record['run_id']}: {known} The next run tells it what this one was to.", file=sys.stderr)
    else:
        mark.unlink()


def deliver_kept() -> None:
    """Tell MLflow of earlier runs what it has not been told."""
    for mark in sorted((paths.home() / "undelivered").glob("*")):
        file = paths.home() / "records" / mark.name / "run.json"
        if not file.is_file():  # its time was over
            mark.unlink()
            continue
        lineage.connect(params.load(paths.PARAMS).project)
        deliver(json.loads(file.read_text(encoding="utf-8")))


def _tell(record: dict[str, Any]) -> None:
    run_id, policy, ledger = record["run_id"], record["policy"], sealing.ledger()
    passed = policy and record["gate"]["verdict"] == "pass"
    if passed and not any(e.type == Event.ALIAS_MOVED for e in ledger.entries(run_id)):
        release.move_alias(ledger, run_id, record["actor"], policy, "candidate")
    _summarise(record)


def _summarise(record: dict[str, Any]) -> None:
    """Outcomes as tags, figures tied to the policy, records as artifacts, on the parent run."""
    import mlflow
    from mlflow.entities import Metric, RunTag

    client, parent = mlflow.MlflowClient(), record["mlflow_run_id"]
    tags = {"attestrl.status": record["status"], "attestrl.gate": record["gate"]["verdict"]}
    for stage in record["stages"]:
        if stage["outcome"] != "skipped":
            tags[f"stage.{stage['name']}"] = stage["outcome"]
            tags[f"stage.{stage['name']}.mlflow_run_id"] = stage["mlflow_run_id"] or ""
    model_id, now = record["policy"]["model_id"] if record["policy"] else None, int(time.time() * 1000)
    metrics = [
        Metric(name, figure["value"], now, 0, model_id=model_id, run_id=parent)
        for name, figure in record["metrics"].items()
    ]
    client.log_batch(parent, metrics, tags=[RunTag(k, v) for k, v in tags.items()])
    client.log_artifacts(parent, str(paths.home() / "records" / record["run_id"]), "records")
    ended = {"failed": "FAILED", "refused": "FAILED", "killed": "KILLED"}.get(record["status"], "FINISHED")
    client.set_terminated(parent, status=ended)
