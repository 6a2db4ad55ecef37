"""The evaluation of a real run through the command: results, report, ledger, decision, queue."""

import json
import sqlite3
from typing import Any

import pytest

from governance.digest import sha256_path
from tests.end_to_end.conftest import Project

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.xdist_group("pipeline")]
SMALL = """
suite: {items: 6, samples: 1, max_new_tokens: 8, best_of: 2, resamples: 50}
hypotheses: {family: [{metric: preference/win_rate/policy_vs_sft, at_least: 0.0001}, {metric: nowhere, at_most: 1}]}
"""


@pytest.fixture(scope="module")
def evaluated(project: Project, first: dict[str, Any]) -> dict[str, Any]:
    before = (project.folder / "params.yaml").read_text(encoding="utf-8")
    cut = before[: before.index("suite:")] + SMALL.lstrip() + before[before.index("evidence:") :]
    (project.folder / "params.yaml").write_text(cut, encoding="utf-8")
    try:
        chosen = ("preference", "ratings", "harm", "reward_accuracy")
        options = [part for name in chosen for part in ("--suite", name)]
        done = project.attestrl("evaluate", first["run_id"], *options, "--json")
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout)
    finally:
        (project.folder / "params.yaml").write_text(before, encoding="utf-8")


def test_results_name_the_bytes_of_the_run(evaluated: dict[str, Any], first: dict[str, Any]) -> None:
    digests = {o["path"]: o["sha256"] for s in first["stages"] for o in s["outputs"]}
    used = {name: sha for r in evaluated["results"] for name, sha in r["models"].items()}
    assert used["policy"] == digests["data/models/policy"] and used["judge"] == digests["data/models/judge"]
    assert [h["verdict"] for h in evaluated["hypotheses"]][1] == "not measured"


def test_the_report_is_in_ledger_and_mlflow(evaluated: dict[str, Any], project: Project, first: dict[str, Any]) -> None:
    from mlflow import MlflowClient

    report = project.folder / ".attestrl/evaluations" / first["run_id"] / "report.html"
    assert sha256_path(report) == evaluated["report_sha256"]
    assert project.attestrl("ledger", "verify").returncode == 0
    client = MlflowClient(f"sqlite:///{project.folder}/.attestrl/mlflow.db")
    query = "tags.`mlflow.runName` = 'evaluation suite'"
    (run, *_) = client.search_runs([client.get_run(first["mlflow_run_id"]).info.experiment_id], query)
    assert run.data.tags["mlflow.parentRunId"] == first["mlflow_run_id"]
    assert "evaluation/report.html" in {f.path for f in client.list_artifacts(run.info.run_id, "evaluation")}


def test_a_changed_report_stops_the_decision(
    evaluated: dict[str, Any], project: Project, first: dict[str, Any]
) -> None:
    report = project.folder / ".attestrl/evaluations" / first["run_id"] / "report.html"
    kept = report.read_bytes()
    report.write_bytes(kept.replace(b"Evaluation of", b"Eulogy of"))
    try:
        no = project.attestrl("reject", first["run_id"], "--reason", "looked at it")
        assert no.returncode == 1 and "is not the report" in no.stderr
    finally:
        report.write_bytes(kept)


def test_the_queue_is_filled(evaluated: dict[str, Any], project: Project, first: dict[str, Any]) -> None:
    code = f"from flows import review; print(review.fill({first['run_id']!r}))"
    assert project.python("-c", code).returncode == 0
    with sqlite3.connect(project.folder / ".attestrl/review.sqlite") as store:
        (golden, items) = store.execute("SELECT count(gold), count(*) FROM items").fetchone()
    assert items > golden


def test_an_unknown_evaluation_is_refused(project: Project, first: dict[str, Any]) -> None:
    done = project.attestrl("evaluate", first["run_id"], "--suite", "nope")
    assert done.returncode == 2 and "reward_accuracy" in done.stderr
