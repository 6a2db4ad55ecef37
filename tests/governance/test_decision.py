"""Approval and rejection: what must hold is read from the ledger and the bytes, and nothing else can stand for it."""

import json
import os
import pwd
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from governance.decision import (
    check_evidence,
    check_ledger,
    current_actor,
    judge_again,
    record_decision,
    record_refusal,
    shown,
    shown_again,
)
from governance.digest import canonical_json, sha256_bytes, sha256_path
from governance.entry import Event, hash_of
from governance.errors import BadInput, GateRefused
from governance.gate import Verdict, thresholds_of
from governance.incidents import Severity, blocking, closed, find, opened, updated
from governance.ledger import Ledger
from governance.records import load_run, write_run_record
from tests.governance.conftest import notary_of
from tests.governance.judged import LIMITS, RUN, make_judged, row, run_record
from tests.governance.test_schemas import problems


class Home:
    """A state folder with one finished run, as the pipeline leaves it."""

    def __init__(self, folder: Path, verdict: str = "pass", **changes: Any) -> None:
        self.ledger = Ledger(folder / "ledger.jsonl")
        self.models = folder / "models"
        self.folder = make_judged(notary_of(self.ledger), folder, self.models, verdict=verdict, **changes)
        self.run_json = self.folder / "run.json"

    def log(self, event: Event, digests: dict[str, str], **data: Any) -> None:
        self.ledger.append(event, run_id=RUN, actor="user:a", subject_digests=digests, data=data)

    def check(self, run_id: str = RUN, **more: Any) -> Verdict:
        check_ledger(notary_of(self.ledger))
        entries = check_evidence(self.ledger, run_id, self.folder.with_name(run_id))
        return judge_again(entries, self.folder, self.models / "policy", self.models / "reward", **more)

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
    home.check(open_incidents=blocking(home.ledger))
    incident = opened(home.ledger, severity=Severity.SERIOUS, **usual)
    with pytest.raises(GateRefused, match=incident.incident_id):
        home.check(open_incidents=blocking(home.ledger))
    updated(home.ledger, incident, note="sent", actor="user:a", reported=True)
    known = find(home.ledger, incident.incident_id)
    closed(home.ledger, known, cause="known", evaluation=("x.jsonl", "3" * 64), actor="user:a")
    home.check(open_incidents=blocking(home.ledger))


def test_data_that_may_not_be_kept_block_approval(home: Home) -> None:
    with pytest.raises(GateRefused, match=r"may not be kept any more: votes\.csv until 2026-01-31"):
        home.check(expired=("votes.csv until 2026-01-31",))


# What was in the run's own, unchanged records when its gate passed: the second judgement reads it and believes nothing.
FORGED: dict[str, tuple[dict[str, Any], str]] = {
    "evaluation on another base": ({"reports/evaluate": {"base_sha256": "e" * 64}}, "name different bases"),
    "evaluation of another policy": ({"reports/evaluate": {"policy_sha256": "e" * 64}}, "policy model is not the one"),
    "evaluation by another reward model": ({"reports/evaluate": {"reward_sha256": "e" * 64}}, "reward model is not"),
    "test of another reward model": ({"reports/reward": {"reward_sha256": "e" * 64}}, "measured on another reward"),
    "a check that did not pass": ({"stages/poisoning": {"notes": {"gate": "refuse"}}}, "check poisoning did not pass"),
    "figures below the limits": ({"reports/evaluate": {"metrics": [row("kl/policy_from_sft", 99.0)]}}, "KL of the"),
    "a policy from another SFT model": ({"ppo:data/models/sft": "e" * 64}, "stage ppo used a data/models/sft"),
    "a reward model from another SFT": ({"reward:data/models/sft": "e" * 64}, "stage reward used a data/models/sft"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_passing_verdict_is_not_believed(tmp_path: Path, name: str) -> None:
    changes, sentence = FORGED[name]
    home = Home(tmp_path, **changes)
    with pytest.raises(GateRefused, match=sentence):
        home.check()


@pytest.mark.parametrize("model", ["policy", "reward"])
def test_other_bytes_or_another_base_in_a_model_are_refused(home: Home, model: str) -> None:
    kept = (home.models / model / "lineage.json").read_bytes()
    (home.models / model / "lineage.json").write_text(json.dumps({"base_sha256": "e" * 64}))
    with pytest.raises(GateRefused, match="different bases"):
        home.check()
    (home.models / model / "lineage.json").write_bytes(kept)
    home.check()
    (home.models / model / "model.safetensors").write_bytes(b"other")
    with pytest.raises(GateRefused, match=f"data/models/{model}: not the bytes that this run made"):
        home.check()


def test_the_thresholds_are_those_of_the_run(tmp_path: Path) -> None:
    home = Home(tmp_path)
    lenient = LIMITS | {"max_kl": 1e9}
    assert {c["what"]: c.get("limit") for c in home.check().checked}["kl"] == LIMITS["max_kl"]
    home.log(Event.CONFIGURATION, {}, parameters={"gate": lenient | {"min_win_rate_low": 0.9}})
    with pytest.raises(GateRefused, match=r"below the limit of 0\.9"):
        home.check()
    with pytest.raises(GateRefused, match="under which thresholds"):
        thresholds_of([e for e in home.ledger.entries() if e.type != Event.CONFIGURATION])


@pytest.mark.parametrize("name", ["reports/evaluate.json", "stages/validate.json", "retention.json"])
def test_a_record_that_was_changed_after_the_run_is_refused(home: Home, name: str) -> None:
    file = home.folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | {"more": 1}))
    with pytest.raises(GateRefused, match="is not the record that the ledger names"):
        home.check()


def test_a_refusal_is_recorded_and_the_run_stays_undecided(home: Home) -> None:
    entry = record_refusal(
        home.ledger, run_id=RUN, reason=" hurry ", because="the KL is too high", actor="user:b", shown_text="shown"
    )
    assert entry.subject_digests == {"shown": sha256_bytes(b"shown")}
    assert entry.data["because"] == "the KL is too high"
    assert problems("decision", asdict(entry)) == []
    judged = home.check()
    assert "Judged again from the evidence: pass" in shown_again(judged)
    assert "kl 3 (limit 10)" in shown_again(judged)
    home.decide()


def test_what_is_shown_names_everything_that_is_decided_on() -> None:
    curate = {"name": "curate", "outputs": [{"path": "data/processed/sft.parquet", "sha256": "5" * 64}]}
    ppo = {"name": "ppo", "outputs": [{"path": "data/models/policy", "sha256": "1" * 64}]}
    text = shown(run_record([curate, ppo], "1" * 64, "refuse"))
    for part in (
        f"Release of run {RUN} (done)",
        "demo-policy version 1",
        "sha256 " + "1" * 64,
        "Gate: refuse",
        "- the KL is too high.",
        "win_rate/policy_vs_sft 0.571 [0.512, 0.630] n=96",
        "kl/policy_from_sft 2.250\n",
        "accuracy/test not measured",
        "data/models/policy " + "1" * 64,
        "Simulated: the annotators and their votes",
        "files, named with their SHA-256 by the audit log)",
    ):
        assert part in text
    assert "sft.parquet" not in text


def test_a_run_that_passed_can_be_approved_and_the_decision_names_what_was_shown(home: Home) -> None:
    home.check()
    entry = home.decide(reason="  looked at 20 samples ")
    assert (entry.type, entry.actor) == (Event.APPROVED, "user:b")
    assert entry.data["reason"] == "looked at 20 samples"
    assert problems("decision", asdict(entry)) == []
    assert problems("decision", asdict(entry) | {"data": {"reason": "x"}})
    text = shown(load_run(home.folder))
    assert entry.subject_digests == {
        "shown": sha256_bytes(text.encode()),
        "policy": sha256_path(home.models / "policy"),
    }
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


def test_a_refused_run_is_not_approved_by_editing_its_record(tmp_path: Path) -> None:
    home = Home(tmp_path, verdict="refuse")
    write_run_record(home.run_json.parent, load_run(home.folder) | {"gate": {"verdict": "pass", "reasons": []}})
    with pytest.raises(GateRefused, match="no passing verdict"):
        home.check()


def test_a_later_refusal_counts_and_not_the_earlier_pass(home: Home) -> None:
    home.log(Event.GATE_VERDICT, {"policy": "1" * 64}, verdict="refuse")
    with pytest.raises(GateRefused, match="no passing verdict"):
        home.check()


def test_a_verdict_of_another_run_does_not_count(home: Home) -> None:
    home.ledger.append(Event.RUN_STARTED, run_id="other", actor="user:a", subject_digests={}, data={})
    with pytest.raises(GateRefused, match="other: the ledger has no passing verdict"):
        home.check(run_id="other")


def test_a_run_that_did_not_end_is_refused(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(Event.GATE_VERDICT, run_id=RUN, actor="a", subject_digests={}, data={"verdict": "pass"})
    with pytest.raises(GateRefused, match="did not end"):
        check_evidence(ledger, RUN, tmp_path)


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
    at = next(i for i, line in enumerate(lines) if b'"gate.verdict"' in line)
    forged = json.loads(lines[at])
    forged["data"]["verdict"] = "pass"
    forged["entry_hash"] = hash_of(forged)
    home.ledger.path.write_bytes(b"".join([*lines[:at], canonical_json(forged) + b"\n", *lines[at + 1 :]]))
    with pytest.raises(GateRefused, match="the ledger does not verify"):
        home.check()


@pytest.mark.parametrize("approved", [True, False])
def test_nothing_is_decided_twice(home: Home, approved: bool) -> None:
    home.decide(approved)
    if approved:
        home.check()  # until the alias has moved, it may be done again
        data = {"alias": "champion"}
        home.ledger.append("alias.moved", run_id=RUN, actor="user:b", subject_digests={}, data=data)
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


def test_the_actor_is_the_account_whatever_a_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "somebody-else")
    assert current_actor() == f"user:{pwd.getpwuid(os.getuid()).pw_name}"


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
