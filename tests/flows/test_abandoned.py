"""A run whose process was killed: the next one says so, and its evidence can be exported like any other's."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows import recovery
from governance.entry import Event
from governance.ledger import Ledger
from governance.verify_bundle import verify
from tasks import paths
from tests.governance.conftest import notary_of
from tests.governance.runs import export_to

KILLED = "20260101T000000Z-0a1b2c3d"


def test_a_killed_run_leaves_evidence(empty_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = empty_project / ".attestrl"
    monkeypatch.chdir(empty_project)
    monkeypatch.setenv("ATTESTRL_HOME", str(home))
    ledger = Ledger(home / "ledger.jsonl")
    outputs, data = {"data/models/base": "a" * 64, "input:data/raw/x": "b" * 64}, {"mlflow_run_id": "m", "message": ""}
    for event, digests, more in (
        (Event.RUN_STARTED, {}, {"until": "evaluate"}),
        (Event.STAGE_MADE, outputs, {"stage": "base", **data}),
        (Event.STAGE_FAILED, {}, {"stage": "sft", **data}),
    ):
        ledger.append(event, run_id=KILLED, actor="user:a", subject_digests=digests, data=more)
    recovery.close_abandoned(ledger, ledger)
    folder = home / "records" / KILLED
    record = json.loads((folder / "run.json").read_text())
    assert (record["status"], record["gate"]["verdict"]) == ("killed", "none")
    outcomes = {s["name"]: s["outcome"] for s in record["stages"]}
    assert (outcomes["base"], outcomes["sft"], outcomes["ppo"]) == ("made", "failed", "skipped")
    export_to(folder, notary_of(ledger), "user:a", empty_project / "evidence.zip")
    reasons, facts = verify(str(empty_project / "evidence.zip"))
    assert reasons == []
    assert f"run {KILLED}: killed, release gate: none" in facts
    before = ledger.path.read_bytes()
    recovery.close_abandoned(ledger, ledger)
    assert ledger.path.read_bytes() == before


def test_a_run_of_another_machine_is_none_of_ours(empty_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two state folders write into one ledger, as machines of a team do."""
    monkeypatch.chdir(empty_project)
    ledger = Ledger(empty_project / "shared.jsonl")
    for run_id, home in (("run-1", "here"), ("run-2", "there")):
        monkeypatch.setenv("ATTESTRL_HOME", str(empty_project / home))
        data = {"until": "evaluate", "place": paths.place()}
        ledger.append(Event.RUN_STARTED, run_id=run_id, actor="user:a", subject_digests={}, data=data)
    assert recovery.open_runs(ledger) == {"run-2"}
    recovery.close_abandoned(ledger, ledger)
    assert [e.run_id for e in ledger.entries() if e.type == Event.RUN_KILLED] == ["run-2"]


def test_a_number_that_another_process_has_now_is_no_sign_of_life() -> None:
    now = int(time.time() * 1000)
    assert recovery._began_before(os.getpid(), now)
    assert not recovery._began_before(os.getpid(), now - 10**9)  # what this process cannot have started
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    assert not recovery._began_before(ended.pid, now)


def test_what_a_kill_cut_short_is_no_record(empty_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file under a temporary name, of a process whose number another one has now."""
    home = empty_project / ".attestrl"
    monkeypatch.chdir(empty_project)
    monkeypatch.setenv("ATTESTRL_HOME", str(home))
    ledger = Ledger(home / "ledger.jsonl")
    ledger.append(Event.RUN_STARTED, run_id=KILLED, actor="user:a", subject_digests={}, data={"until": "evaluate"})
    folder = home / "records" / KILLED
    folder.mkdir(parents=True)
    (folder / f".run.json.{os.getpid()}.abc.partial").write_text("{")
    recovery.close_abandoned(ledger, ledger)
    export_to(folder, notary_of(ledger), "user:a", empty_project / "evidence.zip")
    assert verify(str(empty_project / "evidence.zip"))[0] == []
