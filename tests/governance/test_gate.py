"""The release gate: each thing that must hold is broken alone, and the verdict must say which."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.digest import sha256_path, write_json
from governance.entry import Event
from governance.errors import BadInput
from governance.gate import GATED_STAGES, GateEvidence, Reports, Thresholds, gate_evidence, release_gate
from governance.ledger import Ledger

LIMITS = Thresholds(min_reward_accuracy_low=0.5, min_win_rate_low=0.45, max_kl=10.0, max_length_ratio=1.5)
BASE, POLICY, REWARD = "b" * 64, "1" * 64, "2" * 64
GOOD = GateEvidence(
    base_sha256={"policy": BASE, "reward model": BASE, "evaluation": BASE},
    policy_sha256=POLICY,
    reward_sha256=REWARD,
    evaluated={"policy": POLICY, "reward": REWARD},
    reward_tested=REWARD,
    metrics={"reward_accuracy_low": 0.55, "win_rate_low": 0.48, "kl": 3.0, "length_ratio": 1.1},
    checks=dict.fromkeys(GATED_STAGES, True),
)


def with_metric(name: str, value: float | None) -> GateEvidence:
    return replace(GOOD, metrics={**GOOD.metrics, name: value})


def test_passes_and_lists_what_it_compared() -> None:
    verdict = release_gate(GOOD, LIMITS)
    assert (verdict.verdict, verdict.reasons) == ("pass", [])
    compared = {c["what"] for c in verdict.checked}
    assert compared == {
        "base",
        "policy bytes",
        "reward bytes",
        "reward test",
        "incidents",
        "lineage",
        "log",
        "retention",
        *GATED_STAGES,
        *GOOD.metrics,
    }
    assert all(c["ok"] for c in verdict.checked)
    assert json.dumps(verdict.checked, allow_nan=False)


def test_a_figure_at_its_limit_passes() -> None:
    at = {"reward_accuracy_low": 0.5, "win_rate_low": 0.45, "kl": 10.0, "length_ratio": 1.5}
    assert release_gate(replace(GOOD, metrics=at), LIMITS).verdict == "pass"


BROKEN = {
    "other base": (
        replace(GOOD, base_sha256=GOOD.base_sha256 | {"policy": "c" * 64}),
        "policy, reward model and evaluation name different bases",
    ),
    "base not named": (replace(GOOD, base_sha256=dict.fromkeys(GOOD.base_sha256)), "name different bases"),
    "nobody names a base": (replace(GOOD, base_sha256={}), "name different bases"),
    "an open incident": (replace(GOOD, open_incidents=("inc-20260301-abcdef",)), "incidents are open (inc-20260301"),
    "policy changed": (replace(GOOD, policy_sha256="f" * 64), "the policy model is not the one"),
    "policy not evaluated": (replace(GOOD, evaluated={"reward": REWARD}), "the policy model is not the one"),
    "stale input": (
        replace(GOOD, stale=("stage ppo used another SFT model",)),
        "stage ppo used another SFT model; run",
    ),
    "bytes unlike the log's": (replace(GOOD, unlike=("data/models/policy",)), "not the bytes that this run made"),
    "data expired": (replace(GOOD, expired=("votes.csv until 2026-01-31",)), "may not be kept any more: votes.csv"),
    "other reward evaluated": (
        replace(GOOD, evaluated={"policy": POLICY, "reward": "f" * 64}),
        "the reward model is not the one",
    ),
    "other reward tested": (
        replace(GOOD, reward_tested="f" * 64),
        "test accuracy was measured on another reward model",
    ),
    "check failed": (replace(GOOD, checks={**GOOD.checks, "poisoning": False}), "the check poisoning did not pass"),
    "check missing": (replace(GOOD, checks={"validate": True, "poisoning": True}), "the check annotators did not pass"),
    "further check failed": (replace(GOOD, checks={**GOOD.checks, "safety": False}), "the check safety did not pass"),
    "accuracy": (with_metric("reward_accuracy_low", 0.4996), "test accuracy is 0.4996, below the limit of 0.5."),
    "win rate": (with_metric("win_rate_low", 0.3), "win rate against SFT is 0.3, below the limit of 0.45."),
    "kl": (with_metric("kl", 10.5), "KL of the policy from SFT is 10.5, above the limit of 10."),
    "length": (with_metric("length_ratio", 1.6), "over SFT's is 1.6, above the limit of 1.5."),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_fault_alone_is_refused_with_its_sentence(name: str) -> None:
    evidence, sentence = BROKEN[name]
    verdict = release_gate(evidence, LIMITS)
    assert verdict.verdict == "refuse"
    assert len(verdict.reasons) == 1
    assert sentence in verdict.reasons[0]
    assert [c["ok"] for c in verdict.checked].count(False) == 1


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", GOOD.metrics)
def test_a_figure_that_was_not_measured_is_refused(name: str, value: float | None) -> None:
    verdict = release_gate(with_metric(name, value), LIMITS)
    assert verdict.verdict == "refuse"
    assert verdict.reasons[0].endswith("was not measured.")
    assert json.dumps(verdict.checked, allow_nan=False)


def test_a_missing_figure_and_a_limit_that_is_no_number_are_refused() -> None:
    assert len(release_gate(replace(GOOD, metrics={}), LIMITS).reasons) == 4
    assert release_gate(GOOD, replace(LIMITS, max_kl=math.nan)).verdict == "refuse"


def test_every_reason_is_given() -> None:
    evidence = replace(with_metric("kl", 99.0), policy_sha256="f" * 64, checks={})
    assert len(release_gate(evidence, LIMITS).reasons) == 5


@given(*[st.floats(allow_nan=True, allow_infinity=True)] * 4)
def test_pass_means_that_every_limit_holds(accuracy: float, win: float, kl: float, length: float) -> None:
    metrics = {"reward_accuracy_low": accuracy, "win_rate_low": win, "kl": kl, "length_ratio": length}
    holds = accuracy >= 0.5 and win >= 0.45 and kl <= 10 and length <= 1.5 and all(map(math.isfinite, metrics.values()))
    assert (release_gate(replace(GOOD, metrics=metrics), LIMITS).verdict == "pass") == holds


# Evidence read from a workspace


def row(name: str, value: float | None, part: str | None = None) -> dict[str, Any]:
    low, high = (None, None) if value is None else (value - 0.05, value + 0.05)
    return {"name": name, "value": value, "low": low, "high": high, "n": 100, "slice": part}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A project whose reports and models agree."""
    models, reports = tmp_path / "models", tmp_path / "reports"
    for name in ("policy", "reward"):
        write_json(models / name / "lineage.json", {"base_sha256": BASE})
        (models / name / "model.safetensors").write_bytes(name.encode() * 100)
    policy, reward = (sha256_path(models / n) for n in ("policy", "reward"))
    rows = [row("accuracy/test", 0.6), row("accuracy/test", 0.9, "longer"), row("rewards/margins", 0.2)]
    write_json(reports / "reward/metrics.json", {"base_sha256": BASE, "reward_sha256": reward, "metrics": rows})
    names = {"win_rate/policy_vs_sft": 0.55, "kl/policy_from_sft": 2.0, "length_ratio/policy_vs_sft": 1.2}
    evaluation = {"base_sha256": BASE, "policy_sha256": policy, "reward_sha256": reward}
    rows = [row(*item) for item in names.items()]
    write_json(reports / "evaluate/metrics.json", evaluation | {"metrics": rows})
    for stage in GATED_STAGES:
        write_json(reports / stage / "record.json", {"notes": {"gate": "pass"}})
    outputs = {f"data/models/{n}": sha256_path(models / n) for n in ("policy", "reward")}
    outputs |= {
        f"data/reports/{n}/metrics.json": sha256_path(reports / n / "metrics.json") for n in ("evaluate", "reward")
    }
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(Event.STAGE_MADE, run_id="r", actor="a", subject_digests=outputs, data={"stage": "all"})
    return tmp_path


def read(workspace: Path) -> GateEvidence:
    """The evidence, with the entries that the stages left when all was as the fixture made it."""
    entries = list(Ledger(workspace / "ledger.jsonl").entries())
    reports, models = Reports.in_workspace(workspace / "reports"), workspace / "models"
    return gate_evidence(reports, models / "policy", models / "reward", entries)


def change(file: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(file.read_text())
    edit(content)
    write_json(file, content)


def test_reads_intervals_and_hashes_the_bytes(workspace: Path) -> None:
    evidence = read(workspace)
    assert evidence.metrics == pytest.approx(
        {"reward_accuracy_low": 0.55, "win_rate_low": 0.5, "kl": 2.0, "length_ratio": 1.2}
    )
    assert evidence.policy_sha256 == sha256_path(workspace / "models/policy")
    assert release_gate(evidence, LIMITS).verdict == "pass"


def test_changed_weights_are_refused(workspace: Path) -> None:
    (workspace / "models/policy/model.safetensors").write_bytes(b"other")
    logged, evaluated = release_gate(read(workspace), LIMITS).reasons
    assert logged == "data/models/policy: not the bytes that this run made; run again."
    assert "policy model is not the one that was evaluated" in evaluated


@pytest.mark.parametrize("name", ["evaluate", "reward"])
def test_figures_that_were_edited_after_their_stage_are_refused(workspace: Path, name: str) -> None:
    change(workspace / f"reports/{name}/metrics.json", lambda c: c["metrics"][0].update(low=0.99))
    (reason,) = release_gate(read(workspace), LIMITS).reasons
    assert reason.startswith(f"data/reports/{name}/metrics.json: not the bytes that this run made")


def test_a_renamed_base_in_the_lineage_is_refused(workspace: Path) -> None:
    change(workspace / "models/reward/lineage.json", lambda c: c.update(base_sha256="e" * 64))
    reasons = release_gate(read(workspace), LIMITS).reasons
    assert any("different bases" in r and "reward model eeeeeeeeeeee" in r for r in reasons)


@pytest.mark.parametrize("bad", ["0.9", True, None, [1]])
def test_a_figure_that_is_no_number_counts_as_missing(workspace: Path, bad: Any) -> None:
    change(workspace / "reports/evaluate/metrics.json", lambda c: c["metrics"][0].update(low=bad))
    assert read(workspace).metrics["win_rate_low"] is None


@pytest.mark.parametrize("notes", [{}, {"gate": "refuse"}, {"gate": True}])
def test_a_check_passes_only_by_its_own_word(workspace: Path, notes: dict[str, Any]) -> None:
    write_json(workspace / "reports/validate/record.json", {"notes": notes})
    assert read(workspace).checks == {"validate": False, "annotators": True, "poisoning": True}


def test_missing_reports_are_refused(workspace: Path) -> None:
    for name in ("evaluate/metrics.json", "reward/metrics.json", "poisoning/record.json"):
        (workspace / "reports" / name).unlink()
    reasons = " ".join(release_gate(read(workspace), LIMITS).reasons)
    assert reasons.count("was not measured") == 4
    assert "the check poisoning did not pass" in reasons


def test_a_missing_model_or_a_damaged_report_is_a_sentence(workspace: Path) -> None:
    (workspace / "reports/evaluate/metrics.json").write_text("{")
    with pytest.raises(BadInput, match=r"metrics\.json: is not JSON"):
        read(workspace)
    for file in (workspace / "models/policy").iterdir():
        file.unlink()
    (workspace / "models/policy").rmdir()
    write_json(workspace / "reports/evaluate/metrics.json", {})
    with pytest.raises(BadInput, match="policy: is missing"):
        read(workspace)
