"""The monitor on a real run through the command: counted once, alarms, ledger, incident, metrics, event, kill -9."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import ROOT, Project

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.xdist_group("pipeline")]
PERSON = "anna.schmidt@example.org"


def write_log(file: Path, count: int, drift_from: int, seed: int, day: int) -> Path:
    """SIMULATED: real prompts with one of their answers, which are cut to five words from `drift_from` on."""
    with (ROOT / "data/raw/hh_rlhf/pairs.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(300), strict=False)]
    rng = random.Random(seed)
    with file.open("w", encoding="utf-8") as f:
        for i in range(count):
            row = rng.choice(rows)
            said = row[rng.choice(("chosen", "rejected"))][-1]["content"]
            said = " ".join(said.split()[:5]) if i >= drift_from else said
            line = {"id": f"{seed}-{i}", "user": PERSON, "prompt": row["prompt"], "response": said}
            f.write(json.dumps(line | {"created_at": f"2026-03-{day:02}T{i // 60 % 24:02}:{i % 60:02}:00Z"}) + "\n")
    return file


@pytest.fixture(scope="module")
def watched(project: Project, first: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What three calls said: a quiet log, the same again, a log with drift in which alarms open incidents."""
    folder = tmp_path_factory.mktemp("logs")
    quiet, drift = write_log(folder / "a.jsonl", 400, 400, 1, 1), write_log(folder / "b.jsonl", 400, 150, 2, 2)
    file = project.folder / "params.yaml"
    before = file.read_text(encoding="utf-8")
    file.write_text(before.replace("incident: null", "incident: other"), encoding="utf-8")
    try:
        calls = [("monitor", str(log), "--run", first["run_id"], "--json") for log in (quiet, quiet, drift)]
        done = [project.attestrl(*call) for call in calls]
    finally:
        file.write_text(before, encoding="utf-8")
    assert [d.returncode for d in done] == [0, 0, 1], [d.stderr[-2000:] for d in done]
    return {"calls": [json.loads(d.stdout) for d in done], "drift": drift}


def test_each_response_is_counted_once(watched: dict[str, Any]) -> None:
    assert [c["counted"] for c in watched["calls"]] == [400, 0, 400]
    assert [c["total"] for c in watched["calls"]] == [400, 400, 800]


def test_the_drift_is_found_where_it_is(watched: dict[str, Any]) -> None:
    alarms = {a["series"]: a for a in watched["calls"][2]["alarms"]}
    length = alarms["response_length"]
    assert length["shift_sd"] < -0.5 and length["after"] < length["before"]
    assert "prompt_length" not in alarms and "prompt_distance" not in alarms


def test_an_alarm_is_in_ledger_incidents_and_metrics(watched: dict[str, Any], project: Project) -> None:
    raised = {a["alarm_id"] for a in watched["calls"][2]["alarms"]}
    lines = (project.folder / ".attestrl/ledger.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    assert {e["data"]["alarm_id"] for e in entries if e["type"] == "monitor.alarm"} == raised
    assert [e["data"]["counted"] for e in entries if e["type"] == "monitor.read"] == [400, 400]
    opened = json.loads(project.attestrl("incident", "list", "--json").stdout)
    assert {i["summary"].partition(":")[0] for i in opened if i["summary"].startswith("alarm-")} == raised
    from prometheus_client.parser import text_string_to_metric_families

    text = (project.folder / ".attestrl/monitor/attestrl.prom").read_text(encoding="utf-8")
    samples = {
        (s.name, s.labels.get("series")): s.value for m in text_string_to_metric_families(text) for s in m.samples
    }
    assert samples[("attestrl_monitor_responses_total", None)] == 800
    assert samples[("attestrl_monitor_alarms_total", "response_length")] >= 1
    assert project.attestrl("ledger", "verify").returncode == 0


def test_the_event_is_with_prefect(watched: dict[str, Any], orchestrator: str) -> None:
    import httpx

    wanted = {a["alarm_id"] for a in watched["calls"][2]["alarms"]}
    deadline = time.monotonic() + 60
    found: set[str] = set()
    while found != wanted and time.monotonic() < deadline:
        query = {"filter": {"event": {"name": ["attestrl.monitor.alarm"]}}, "limit": 50}
        events = httpx.post(f"{orchestrator}/events/filter", json=query, timeout=30).json()["events"]
        found = {e["payload"]["alarm_id"] for e in events}
        time.sleep(1)
    assert found == wanted


def test_no_name_and_no_text_is_kept(watched: dict[str, Any], project: Project) -> None:
    text = json.loads(watched["drift"].read_text(encoding="utf-8").splitlines()[0])["prompt"][-1]["content"]
    for file in (project.folder / ".attestrl").rglob("*"):
        if file.is_file() and ("monitor" in file.parts or file.name == "ledger.jsonl"):
            content = file.read_bytes()
            assert PERSON.encode() not in content and text.encode() not in content, file


def test_a_broken_line_is_named_and_nothing_is_counted(
    watched: dict[str, Any], project: Project, first: dict[str, Any], tmp_path: Path
) -> None:
    log = write_log(tmp_path / "c.jsonl", 5, 5, 3, 3)
    with log.open("a", encoding="utf-8") as f:
        f.write('{"prompt": "x", "response"\n')
    done = project.attestrl("monitor", str(log), "--run", first["run_id"])
    assert done.returncode == 2 and "line 6" in done.stderr
    with sqlite3.connect(project.folder / ".attestrl/monitor/monitor.sqlite") as store:
        assert store.execute("SELECT count(*) FROM readings").fetchone() == (800,)


def test_a_killed_call_loses_nothing_and_counts_nothing_twice(
    watched: dict[str, Any], project: Project, first: dict[str, Any], tmp_path: Path
) -> None:
    log = tmp_path / "d.jsonl"
    parts = [write_log(tmp_path / f"{day}.jsonl", 60, 60, day, day) for day in range(4, 12)]
    log.write_text("".join(p.read_text(encoding="utf-8") for p in parts), encoding="utf-8")
    command = [sys.executable, "-m", "flows.cli", "monitor", str(log), "--run", first["run_id"], "--json"]
    counted = 800
    database = project.folder / ".attestrl/monitor/monitor.sqlite"
    for _ in range(2):
        process = subprocess.Popen(
            command, cwd=project.folder, env=project.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        before, deadline = counted, time.monotonic() + 120
        while counted == before and process.poll() is None and time.monotonic() < deadline:
            with sqlite3.connect(database, timeout=60) as store:
                (counted,) = store.execute("SELECT count(*) FROM readings").fetchone()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = project.attestrl("monitor", str(log), "--run", first["run_id"], "--json")
    assert json.loads(done.stdout)["total"] == 800 + 480
    with sqlite3.connect(database) as store:
        assert store.execute("SELECT count(*), count(DISTINCT number) FROM readings").fetchone() == (1280, 1280)
