"""The real pipeline, through the command that a user types, on a shrunken configuration."""

import json
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from tasks.paths import STAGES
from tests.end_to_end.conftest import Project, entries, mlflow_ids, outcomes
from tests.flows.browser import CHROMIUM
from tests.typed import clean_environment

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("pipeline")]
MODELS = {"data/models/base", "data/models/sft", "data/models/reward", "data/models/judge", "data/models/policy"}


def test_every_stage_is_made(first: dict[str, Any], project: Project) -> None:
    assert outcomes(first) == dict.fromkeys(STAGES, "made")
    outputs = {o["path"]: o["sha256"] for s in first["stages"] for o in s["outputs"]}
    assert outputs.keys() >= MODELS
    for path in outputs:
        assert (project.folder / path).exists(), path


def test_every_stage_shows_how_far_it_is(first: dict[str, Any], project: Project) -> None:
    """Bars on standard error, which run to their end; also while the pages of the checks are made."""
    said = (project.folder.parent / "first.err").read_text(encoding="utf-8")
    _, *parts = re.split(r"^▸ (\w+)$", said, flags=re.MULTILINE)
    by_stage = dict(zip(parts[::2], parts[1::2], strict=True))
    assert list(by_stage) == list(STAGES)
    assert [stage for stage, part in by_stage.items() if "100%|" not in part] == []
    assert "data docs: 100%|" in by_stage["validate"]


def test_nothing_is_open_to_others(first: dict[str, Any], project: Project) -> None:
    """The first run had a umask of 077; what later runs wrote with the usual one does not count."""
    record = next(project.folder / p for p in first["records"] if Path(p).name == "run.json")
    ended = record.stat().st_mtime
    files = [p for below in (".attestrl", *MODELS) for p in (project.folder / below).rglob("*") if p.is_file()]
    written = [p for p in files if p.stat().st_mtime <= ended]
    assert {p.suffix for p in written} >= {".json", ".md", ".safetensors"} and len(written) > 20
    assert [p for p in written if p.stat().st_mode & 0o077] == []


def test_of_two_runs_at_once_one_refuses(first: dict[str, Any], project: Project) -> None:
    command = [sys.executable, "-m", "flows.cli", "run"]
    both = [
        subprocess.Popen(command, cwd=project.folder, env=project.environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [run.communicate(timeout=300)[1] for run in both]
    assert sorted(run.returncode for run in both) == [0, 3], said
    refused = next(text for run, text in zip(both, said, strict=True) if run.returncode == 3)
    assert "another run is under way" in refused


def test_metrics_come_with_intervals(first: dict[str, Any]) -> None:
    for name in ("accuracy/test", "win_rate/policy_vs_sft", "win_rate/sft_vs_base", "kl/policy_from_sft"):
        figure = first["metrics"][name]
        assert figure["low"] <= figure["value"] <= figure["high"], name
        assert figure["n"] > 0


def test_records_are_written(first: dict[str, Any]) -> None:
    names = {Path(p).name for p in first["records"]}
    assert "run.json" in names
    assert {n for n in names if n.startswith("datasheet-")}
    assert {"card-policy.md", "card-reward.md", "card-sft.md", "card-base.md", "card-judge.md"} <= names
    sheet = next(Path(p) for p in first["records"] if Path(p).name == "datasheet-preferences.md")
    text = sheet.read_text(encoding="utf-8")
    assert "supervised" in text  # the source says that it is meant for preference models
    votes = next(Path(p) for p in first["records"] if Path(p).name == "datasheet-votes.md")
    assert "simulated" in votes.read_text(encoding="utf-8").lower()


def test_data_docs_open_without_a_network(first: dict[str, Any], project: Project) -> None:
    pages = list((project.folder / "data/reports/validate/data_docs").rglob("*.html"))
    assert len(pages) > 5
    foreign = re.compile(
        r"""<(?:script|link|img|iframe)\b|(?:src|@import|url\()\s*[=(]?\s*["']?https?:""", re.IGNORECASE
    )
    for page in pages:
        found = foreign.search(page.read_text(encoding="utf-8"))
        assert not found, f"{page}: {found and found.group()}"
    assert "sides_differ" in "".join(p.read_text(encoding="utf-8") for p in pages)


@pytest.mark.skipif(not CHROMIUM, reason="this machine has no Chromium")
def test_data_docs_lead_a_reader_to_every_table(first: dict[str, Any], project: Project, tmp_path: Path) -> None:
    """As a browser shows them: from the first page to what was found in each table."""
    folder = project.folder / "data/reports/validate/data_docs"
    index = _as_shown(folder / "index.html", tmp_path)
    links = re.findall(r'href="(validations/[^"]+)"', index)
    assert len(links) == len(list((folder / "validations").rglob("*.html")))
    assert "preferences" in index
    assert "sides_differ" in _as_shown(folder / next(link for link in links if "preferences" in link), tmp_path)


def _as_shown(page: Path, profile: Path) -> str:
    """The document that a browser without a network makes of a page."""
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    command = [str(CHROMIUM), *switches, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_ledger_verifies(first: dict[str, Any], project: Project) -> None:
    done = project.typed("ledger", "verify", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["ok"]
    assert found["entries"] > len(STAGES)
    assert found["verdict"] == "whole"  # nothing is left without a signature
    signed = {int(f.name[:12]) for f in (project.folder / ".attestrl/checkpoints").iterdir()}
    assert 2 in signed  # the start of the first run and its key, before any stage
    told = [
        "key.made",
        "run.started",
        "run.configuration",
        "stage.made",
        "gate.verdict",
        "model.registered",
        "alias.moved",
    ]
    assert {e.type for e in entries(project, *told, "run.ended")} == {*told, "run.ended"}


def test_lineage_in_mlflow(first: dict[str, Any], project: Project) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.folder}/.attestrl/mlflow.db")
    parent = client.get_run(first["mlflow_run_id"])
    assert parent.info.status == "FINISHED"
    for stage in first["stages"]:
        child = client.get_run(stage["mlflow_run_id"])
        assert child.data.tags["mlflow.parentRunId"] == first["mlflow_run_id"]
        assert child.info.status == "FINISHED"
    ppo = client.get_run(mlflow_ids(first)["ppo"])
    written = {m.model_id for m in ppo.outputs.model_outputs}
    read = {m.model_id for m in ppo.inputs.model_inputs} - written
    assert {client.get_logged_model(m).name for m in read} == {"sft", "reward"}
    assert {client.get_logged_model(m).name for m in written} == {"policy"}
    source = json.loads(ppo.inputs.dataset_inputs[0].dataset.source)
    assert source["path"] == "data/processed/ppo_prompts.parquet"
    assert len(source["sha256"]) == 64
    version = client.get_model_version_by_alias("attestrl-policy", "candidate")
    assert {"git_commit", "base_sha256", "data_sha256", "reward_model_version"} <= version.tags.keys()
    assert client.get_latest_versions("attestrl-reward")


def test_dvc_names_every_output(first: dict[str, Any], project: Project) -> None:
    lock = (project.folder / "dvc.lock").read_text()
    assert all(f"path: {path}" in lock for path in MODELS)
    done = project.python("-m", "dvc", "status", "--json")
    assert json.loads(done.stdout) == {}


def test_approval_is_bound_to_evidence(judged: tuple[dict[str, Any], dict[str, Any]], project: Project) -> None:
    """A verdict cannot be forged by an alias, a tag or an edited record; an honest approval makes the champion."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.folder}/.attestrl/mlflow.db")
    refused, passed = judged
    assert refused["exit_code"] == 1
    assert refused["gate"]["verdict"] == "refuse"
    client.set_tag(refused["mlflow_run_id"], "attestrl.gate", "pass")
    no = project.typed("approve", refused["run_id"], "--reason", "because")
    assert no.returncode == 1
    yes = project.typed("approve", passed["run_id"], "--reason", "figures looked at")
    assert yes.returncode == 0, yes.stderr
    assert passed["policy"]["sha256"][:12] in yes.stderr
    champion = client.get_model_version_by_alias("attestrl-policy", "champion")
    assert str(champion.version) == passed["policy"]["version"]
    twice = project.typed("reject", passed["run_id"], "--reason", "again")
    assert twice.returncode == 2


def test_no_run_is_left_open(first: dict[str, Any], project: Project) -> None:
    with sqlite3.connect(project.folder / ".attestrl/mlflow.db") as store:
        assert store.execute("select count(*) from runs where status = 'RUNNING'").fetchone() == (0,)


def test_the_ui_shows_the_runs(first: dict[str, Any], project: Project) -> None:
    """`attestrl ui` serves MLflow on localhost with this project's experiment, until it is told to stop."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "-m", "flows.cli", "ui", "--port", str(port)]
    with (project.folder / "ui.log").open("w") as log:
        served = subprocess.Popen(command, cwd=project.folder, env=clean_environment(), stdout=log, stderr=log)
    try:
        found = _wait_for_experiments(f"http://127.0.0.1:{port}", 90)
    finally:
        served.terminate()
        served.wait(timeout=30)
    assert "attestrl" in {e["name"] for e in found}


def _wait_for_experiments(url: str, seconds: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            asked = httpx.post(f"{url}/api/2.0/mlflow/experiments/search", json={"max_results": 10}, timeout=10)
        except httpx.TransportError:
            time.sleep(1)
            continue
        experiments: list[dict[str, Any]] = asked.raise_for_status().json()["experiments"]
        return experiments
    pytest.fail("the UI did not answer within the time")


def test_the_readmes_check_commands_work(first: dict[str, Any], project: Project) -> None:
    readme = (project.folder / "README.md").read_text(encoding="utf-8")
    commands = [shlex.split(c) for c in re.findall(r"^attestrl (check .+)$", readme, re.MULTILINE)]
    assert len(commands) == 2
    for command in commands:
        done = project.typed(*command)
        assert done.returncode == 0, done.stderr
    table = pl.read_csv(project.folder / "reports/rte/annotators.csv")
    assert table.columns[:5] == ["annotator_id", "flag", "score", "weight", "reason"]
    assert 0 < table["flag"].sum() < 0.5 * table.height
    found = json.loads((project.folder / "reports/hh/findings.json").read_text())
    assert found == {"findings": []}  # nobody is known to have poisoned it


def test_a_served_schedule_fires(first: dict[str, Any], project: Project) -> None:
    """A cron deployment on a Prefect server of its own starts a whole run; SIGTERM ends both."""
    command = [sys.executable, "-m", "flows.cli", "serve", "--cron", "* * * * *"]
    log = (project.folder / "serve.log").open("w")
    served = subprocess.Popen(command, cwd=project.folder, env=clean_environment(), stdout=log, stderr=log)
    try:
        scheduled = _wait_for_scheduled_run(project, 200)
        time.sleep(8)  # the record is written before the process of the run has ended
    finally:
        served.send_signal(signal.SIGTERM)
        code = served.wait(timeout=60)
    said = (project.folder / "serve.log").read_text()
    assert scheduled["status"] == "done", said[-3000:]
    assert outcomes(scheduled) == dict.fromkeys(STAGES, "cached")
    assert code == 0, said[-3000:]
    assert "Traceback" not in said
    assert "127.0.0.1" in said
    assert "retention 0 2 * * * (UTC)" in said


def _wait_for_scheduled_run(project: Project, seconds: int) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for file in sorted((project.folder / ".attestrl/records").glob("*/run.json")):
            record: dict[str, Any] = json.loads(file.read_text())
            if record["actor"].startswith("schedule:"):
                return record
        time.sleep(2)
    pytest.fail("no scheduled run within the time: " + (project.folder / "serve.log").read_text()[-3000:])
