"""Approval and rejection: what must hold is read from the ledger and the bytes, and nothing else can stand for it."""

import getpass
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from governance.decision import check_can_approve, current_actor, record_decision, shown
from governance.digest import canonical_json, sha256_bytes, sha256_path
from governance.errors import BadInput, GateRefused
from governance.incidents import Severity, closed, find, opened, updated
from governance.ledger import Event, Ledger, hash_of
from governance.records import load_run, write_run_record
from tests.governance.conftest import notary_of

RUN, POLICY = "20260101T000000Z-0a1b2c3d", "1" * 64


def run_record(verdict: str = "pass") -> dict[str, Any]:
    return {
        "run_id": RUN,
        "status": "done",
        "stages": [
            {"name": "curate", "outputs": [{"path": "data/processed/sft.parquet", "sha256": "5" * 64}]},
            {"name": "ppo", "outputs": [{"path": "data/models/policy", "sha256": POLICY}]},
        ],
        "metrics": {
            "win_rate/policy_vs_sft": {"value": 0.571, "low": 0.512, "high": 0.63, "n": 96},
            "kl/policy_from_sft": {"value": 2.25, "low": None, "high": None, "n": None},
            "accuracy/test": {"value": None, "low": None, "high": None, "n": 0},
        },
        "gate": {"verdict": verdict, "reasons": [] if verdict == "pass" else ["the KL is too high."]},
        "policy": {"name": "demo-policy", "version": "3", "model_id": "m-1", "sha256": POLICY},
        "simulated": ["the annotators and their votes"],
        "records": ["records/card-policy.md"],
    }


class Home:
    """A state folder with one finished run, as the pipeline leaves it."""

    def __init__(self, folder: Path, verdict: str = "pass") -> None:
        self.ledger = Ledger(folder / "ledger.jsonl")
        self.run_json = folder / "records" / RUN / "run.json"
        self.log(Event.RUN_STARTED, {})
        self.log(Event.GATE_VERDICT, {"policy": POLICY}, verdict=verdict)
        write_run_record(self.run_json.parent, run_record(verdict))
        self.log(Event.RUN_ENDED, {"run.json": sha256_path(self.run_json)})

    def log(self, event: Event, digests: dict[str, str], **data: Any) -> None:
        self.ledger.append(event, run_id=RUN, actor="user:a", subject_digests=digests, data=data)

    def check(self, policy: str = POLICY, run_id: str = RUN) -> None:
        check_can_approve(notary_of(self.ledger), run_id, self.run_json, policy)

    def decide(self, approved: bool = True, reason: str = "read it", run_id: str = RUN) -> Any:
        text = shown(load_run(self.run_json.parent))
        return record_decision(
            self.ledger, run_id=run_id, approved=approved, reason=reason, actor="user:b", shown_text=text
        )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_an_open_serious_incident_blocks_approval(home: Home) -> None:
    usual = {"summary": "harm", "actor": "user:a", "aware": datetime(2026, 3, 1, tzinfo=UTC), "days": {"serious": 15}}
    opened(home.ledger, severity=Severity.OTHER, **usual)
    home.check()
    incident = opened(home.ledger, severity=Severity.SERIOUS, **usual)
    with pytest.raises(GateRefused, match=incident.incident_id):
        home.check()
    updated(home.ledger, incident, note="sent", actor="user:a", reported=True)
    known = find(home.ledger, incident.incident_id)
    closed(home.ledger, known, cause="known", evaluation=("x.jsonl", "3" * 64), actor="user:a")
    home.check()


def test_what_is_shown_names_everything_that_is_decided_on() -> None:
    text = shown(run_record("refuse"))
    for part in (
        f"Release of run {RUN} (done)",
        "demo-policy version 3",
        f"sha256 {POLICY}",
        "Gate: refuse",
        "- the KL is too high.",
        "win_rate/policy_vs_sft 0.571 [0.512, 0.630] n=96",
        "kl/policy_from_sft 2.250\n",
        "accuracy/test not measured",
        f"data/models/policy {POLICY}",
        "Simulated: the annotators and their votes",
        "records/card-policy.md",
    ):
        assert part in text
    assert "sft.parquet" not in text


def test_a_run_that_passed_can_be_approved_and_the_decision_names_what_was_shown(home: Home) -> None:
    home.check()
    entry = home.decide(reason="  looked at 20 samples ")
    assert (entry.type, entry.actor) == (Event.APPROVED, "user:b")
    assert entry.data["reason"] == "looked at 20 samples"
    assert entry.subject_digests == {"shown": sha256_bytes(shown(run_record()).encode()), "policy": POLICY}
    assert sha256_bytes(entry.data["shown"].encode()) == entry.subject_digests["shown"]
    assert home.ledger.verify().ok


def test_a_report_that_was_seen_is_named_in_the_decision(home: Home) -> None:
    entry = record_decision(
        home.ledger,
        run_id=RUN,
        approved=True,
        reason="read it",
        actor="user:b",
        shown_text="shown",
        seen={"evaluation report": "e" * 64},
    )
    assert entry.subject_digests["evaluation report"] == "e" * 64


def test_a_rejection_is_recorded_as_one(home: Home) -> None:
    assert home.decide(approved=False).type == "decision.rejected"


def test_an_edited_run_record_is_refused(home: Home) -> None:
    record = json.loads(home.run_json.read_text())
    record["metrics"]["win_rate/policy_vs_sft"]["value"] = 0.99
    home.run_json.write_text(json.dumps(record))
    with pytest.raises(GateRefused, match=r"run\.json: is not the record that the ledger names"):
        home.check()


def test_a_deleted_run_record_is_refused(home: Home) -> None:
    home.run_json.unlink()
    with pytest.raises(GateRefused, match=r"run\.json: is not the record"):
        home.check()


def test_other_policy_bytes_are_refused(home: Home) -> None:
    with pytest.raises(GateRefused, match="policy is not the one that was judged"):
        home.check(policy="2" * 64)


def test_a_refused_run_is_not_approved_by_editing_its_record(tmp_path: Path) -> None:
    home = Home(tmp_path, verdict="refuse")
    write_run_record(home.run_json.parent, run_record("pass"))
    with pytest.raises(GateRefused, match="no passing verdict"):
        home.check()


def test_a_later_refusal_counts_and_not_the_earlier_pass(home: Home) -> None:
    home.log(Event.GATE_VERDICT, {"policy": POLICY}, verdict="refuse")
    with pytest.raises(GateRefused, match="no passing verdict"):
        home.check()


def test_a_verdict_of_another_run_does_not_count(home: Home) -> None:
    home.ledger.append(Event.RUN_STARTED, run_id="other", actor="user:a", subject_digests={}, data={})
    with pytest.raises(GateRefused, match="other: the ledger has no passing verdict"):
        home.check(run_id="other")


def test_a_run_that_did_not_end_is_refused(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    digests = {"policy": POLICY}
    ledger.append(Event.GATE_VERDICT, run_id=RUN, actor="a", subject_digests=digests, data={"verdict": "pass"})
    with pytest.raises(GateRefused, match="did not end"):
        check_can_approve(notary_of(ledger), RUN, tmp_path / "run.json", POLICY)


def test_a_verdict_forged_in_a_log_chained_anew_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path, verdict="refuse")
    notary_of(home.ledger).seal("user:a")
    entries = [json.loads(line) for line in home.ledger.path.read_bytes().splitlines()]
    home.ledger.path.unlink()
    for e in entries:
        e["data"] |= {"verdict": "pass"} if e["type"] == Event.GATE_VERDICT else {}
        kept = {k: e[k] for k in ("run_id", "actor", "subject_digests", "data")}
        home.ledger.append(e["type"], **kept)
    assert home.ledger.verify().ok
    with pytest.raises(GateRefused, match="written anew"):
        home.check()


def test_a_forged_verdict_in_the_ledger_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path, verdict="refuse")
    lines = home.ledger.path.read_bytes().splitlines(keepends=True)
    forged = json.loads(lines[1])
    forged["data"]["verdict"] = "pass"
    forged["entry_hash"] = hash_of(forged)
    home.ledger.path.write_bytes(b"".join([lines[0], canonical_json(forged) + b"\n", *lines[2:]]))
    with pytest.raises(GateRefused, match="the ledger does not verify"):
        home.check()


@pytest.mark.parametrize("approved", [True, False])
def test_nothing_is_decided_twice(home: Home, approved: bool) -> None:
    home.decide(approved)
    with pytest.raises(BadInput, match="was decided already"):
        home.check()
    with pytest.raises(BadInput, match=r"was decided already \(decision\..*, user:b, 20"):
        home.decide(not approved)
    assert sum(e.type.startswith("decision.") for e in home.ledger.entries()) == 1


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_a_decision_needs_a_reason(home: Home, reason: str) -> None:
    with pytest.raises(BadInput, match="--reason: is empty"):
        home.decide(reason=reason)


def test_an_unknown_run_is_a_sentence_that_helps(home: Home) -> None:
    with pytest.raises(BadInput, match="`attestrl runs` lists them"):
        home.decide(run_id="nothing")
    with pytest.raises(BadInput, match="`attestrl runs` lists them"):
        home.check(run_id="nothing")


def test_the_actor_is_the_login() -> None:
    assert current_actor() == f"user:{getpass.getuser()}"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can take another user's id")
def test_the_actor_is_the_number_where_no_login_is_known() -> None:
    code = "import os, pwd; from governance.decision import current_actor; os.setuid(54321); print(current_actor())"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(root), "PATH": os.environ["PATH"]},  # neither HOME nor LOGNAME nor USER
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "user:uid-54321\n"
