"""The release gate: whether a policy may become a candidate, or champion. A pure function of evidence and thresholds.

Evidence is read from reports, from the bytes of the models and from the run's entries in the audit log; tags and aliases
in a registry play no part, nor does an earlier verdict.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from governance import descent
from governance.digest import sha256_path
from governance.entry import Entry, Event
from governance.errors import BadInput, GateRefused

GATED_STAGES = ("validate", "annotators", "poisoning")


@dataclass(frozen=True)
class Thresholds:
    """Limits of `gate` in params.yaml; KL in nats per response."""

    min_reward_accuracy_low: float
    min_win_rate_low: float
    max_kl: float
    max_length_ratio: float


@dataclass(frozen=True)
class GateEvidence:
    """What the gate looks at.

    `base_sha256` names the base that each of policy, reward model and evaluation descends from; `policy_sha256` and
    `reward_sha256` are measured on the bytes, `evaluated` and `reward_tested` hold what the evaluation and the reward
    model's test say they looked at. `metrics` has None where a figure is missing. `checks` says whether each data check
    let the data pass; `open_incidents` names serious incidents that are not closed, `unlike` what does not have the bytes
    that the run's log names, `stale` what a stage used that the run did not make, `expired` data that may not be kept.
    """

    base_sha256: dict[str, str | None]
    policy_sha256: str
    reward_sha256: str
    evaluated: dict[str, str | None]
    reward_tested: str | None
    metrics: dict[str, float | None]
    checks: dict[str, bool]
    open_incidents: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    expired: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """`verdict` is "pass" or "refuse"; `reasons` are sentences, `checked` every comparison that was made."""

    verdict: str
    reasons: list[str]
    checked: list[dict[str, Any]]


@dataclass(frozen=True)
class Reports:
    """Files that the gate reads: figures of the evaluation and of the reward model, records of the checks by stage."""

    evaluation: Path
    reward: Path
    checks: Mapping[str, Path]

    @classmethod
    def in_workspace(cls, reports: Path) -> "Reports":
        """As the stages leave them."""
        checks = {stage: reports / stage / "record.json" for stage in GATED_STAGES}
        return cls(reports / "evaluate/metrics.json", reports / "reward/metrics.json", checks)

    @classmethod
    def of_run(cls, folder: Path) -> "Reports":
        """The copies in a run's folder."""
        checks = {stage: folder / f"stages/{stage}.json" for stage in GATED_STAGES}
        return cls(folder / "reports/evaluate.json", folder / "reports/reward.json", checks)


def thresholds_of(entries: Sequence[Entry]) -> Thresholds:
    """The limits under which a run was started, as its log has them; what params.yaml says since counts for nothing.

    Raises GateRefused if the log does not have them.
    """
    said = [e.data.get("parameters", {}).get("gate") for e in entries if e.type == Event.CONFIGURATION]
    try:
        return Thresholds(**said[-1])
    except (IndexError, TypeError):
        raise GateRefused("the audit log does not say under which thresholds the run was started; run again.") from None


def gate_evidence(reports: Reports, policy: Path, reward_model: Path, entries: Sequence[Entry]) -> GateEvidence:
    """Read the evidence of a run, hashing models and reports again. `policy` and `reward_model` are folders with the
    bytes that would be released, `entries` those of the run.

    Raises BadInput where a model is absent or a report is not JSON.
    """
    evaluation, reward = _json(reports.evaluation), _json(reports.reward)
    every = [*reward.get("metrics", []), *evaluation.get("metrics", [])]
    measured = {
        "data/models/policy": _measured(policy),
        "data/models/reward": _measured(reward_model),
        "data/reports/evaluate/metrics.json": _file(reports.evaluation),
        "data/reports/reward/metrics.json": _file(reports.reward),
    }
    logged = descent.made(entries)
    rows = {r["name"]: r for r in every if not r.get("slice")}  # a slice's figure never stands for the whole

    def figure(name: str, field: str) -> float | None:
        value = rows.get(name, {}).get(field)
        return float(value) if type(value) in (int, float) else None

    return GateEvidence(
        base_sha256={
            "policy": _json(policy / "lineage.json").get("base_sha256"),
            "reward model": _json(reward_model / "lineage.json").get("base_sha256"),
            "evaluation": evaluation.get("base_sha256"),
        },
        policy_sha256=measured["data/models/policy"],
        reward_sha256=measured["data/models/reward"],
        evaluated={"policy": evaluation.get("policy_sha256"), "reward": evaluation.get("reward_sha256")},
        reward_tested=reward.get("reward_sha256"),
        metrics={
            "reward_accuracy_low": figure("accuracy/test", "low"),
            "win_rate_low": figure("win_rate/policy_vs_sft", "low"),
            "kl": figure("kl/policy_from_sft", "value"),
            "length_ratio": figure("length_ratio/policy_vs_sft", "value"),
        },
        checks={s: _json(file).get("notes", {}).get("gate") == "pass" for s, file in reports.checks.items()},
        unlike=tuple(path for path, digest in measured.items() if logged.get(path) != digest),
        stale=tuple(descent.stale(entries)),
    )


def release_gate(evidence: GateEvidence, thresholds: Thresholds) -> Verdict:
    """Refuse with every reason there is; pass only if there is none."""
    reasons: list[str] = []
    checked: list[dict[str, Any]] = []

    def demand(what: str, ok: bool, sentence: str, **details: Any) -> None:
        checked.append({"what": what, "ok": ok, **details})
        if not ok:
            reasons.append(sentence)

    bases = set(evidence.base_sha256.values())
    same = len(bases) == 1 and None not in bases
    named = ", ".join(f"{k} {(v or 'none')[:12]}" for k, v in evidence.base_sha256.items())
    demand("base", same, f"policy, reward model and evaluation name different bases ({named}); run again.")
    demand("lineage", not evidence.stale, f"{'; '.join(evidence.stale)}; run again.")
    demand("log", not evidence.unlike, f"{', '.join(evidence.unlike)}: not the bytes that this run made; run again.")
    for name, measured in (("policy", evidence.policy_sha256), ("reward", evidence.reward_sha256)):
        demand(
            f"{name} bytes",
            evidence.evaluated.get(name) == measured,
            f"the {name} model is not the one that was evaluated; run the evaluation again.",
            measured=measured,
        )
    demand(
        "reward test",
        evidence.reward_tested == evidence.reward_sha256,
        "the reward model's test accuracy was measured on another reward model; run the stage reward again.",
    )
    for stage in dict.fromkeys((*GATED_STAGES, *evidence.checks)):
        passed = evidence.checks.get(stage, False)
        demand(stage, passed, f"the check {stage} did not pass; see data/reports/{stage}.")
    demand(
        "incidents",
        not evidence.open_incidents,
        f"serious incidents are open ({', '.join(evidence.open_incidents)}); close them first.",
    )
    demand("retention", not evidence.expired, f"data may not be kept any more: {'; '.join(evidence.expired)}.")
    _demand_figures(evidence.metrics, thresholds, demand)
    return Verdict("refuse" if reasons else "pass", reasons, checked)


def _demand_figures(metrics: dict[str, float | None], limits: Thresholds, demand: Callable[..., None]) -> None:
    lower = {
        "reward_accuracy_low": (limits.min_reward_accuracy_low, "lower end of the reward model's test accuracy"),
        "win_rate_low": (limits.min_win_rate_low, "lower end of the policy's win rate against SFT"),
    }
    upper = {
        "kl": (limits.max_kl, "KL of the policy from SFT"),
        "length_ratio": (limits.max_length_ratio, "mean length of the policy's answers over SFT's"),
    }
    for limits_by_name, word in ((lower, "below"), (upper, "above")):
        for name, (limit, people) in limits_by_name.items():
            value = metrics.get(name)
            if value is None or not math.isfinite(value):
                demand(name, False, f"the {people} was not measured.", limit=limit)
                continue
            ok = value >= limit if word == "below" else value <= limit
            demand(name, ok, f"the {people} is {value:.6g}, {word} the limit of {limit:g}.", value=value, limit=limit)


def _measured(folder: Path) -> str:
    if not folder.is_dir():
        raise BadInput(f"{folder}: is missing; `attestrl run` makes it.")
    return sha256_path(folder)


def _file(path: Path) -> str:
    return sha256_path(path) if path.is_file() else ""


def _json(path: Path) -> dict[str, Any]:
    """Content of a report; nothing if there is none, so that the gate refuses what it does not find."""
    if not path.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise BadInput(f"{path}: is not JSON; delete it and run again.") from None
    return content
