"""The release gate: whether a policy may become a candidate. A pure function of evidence and thresholds.

Evidence is read from reports and from the bytes of the models; tags and aliases in a registry play no part.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from governance.digest import sha256_path
from governance.errors import BadInput

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
    let the data pass; `open_incidents` names serious incidents that are not closed.
    """

    base_sha256: dict[str, str | None]
    policy_sha256: str
    reward_sha256: str
    evaluated: dict[str, str | None]
    reward_tested: str | None
    metrics: dict[str, float | None]
    checks: dict[str, bool]
    open_incidents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """`verdict` is "pass" or "refuse"; `reasons` are sentences, `checked` every comparison that was made."""

    verdict: str
    reasons: list[str]
    checked: list[dict[str, Any]]


def gate_evidence(reports: Path, models: Path) -> GateEvidence:
    """Read the evidence of the run whose outputs are in the workspace, hashing the models again.

    Raises BadInput where a model is absent or a report is not JSON.
    """
    evaluation = _json(reports / "evaluate" / "metrics.json")
    reward = _json(reports / "reward" / "metrics.json")
    every = [*reward.get("metrics", []), *evaluation.get("metrics", [])]
    rows = {r["name"]: r for r in every if not r.get("slice")}  # a slice's figure never stands for the whole

    def figure(name: str, field: str) -> float | None:
        value = rows.get(name, {}).get(field)
        return float(value) if type(value) in (int, float) else None

    return GateEvidence(
        base_sha256={
            "policy": _json(models / "policy" / "lineage.json").get("base_sha256"),
            "reward model": _json(models / "reward" / "lineage.json").get("base_sha256"),
            "evaluation": evaluation.get("base_sha256"),
        },
        policy_sha256=_measured(models / "policy"),
        reward_sha256=_measured(models / "reward"),
        evaluated={"policy": evaluation.get("policy_sha256"), "reward": evaluation.get("reward_sha256")},
        reward_tested=reward.get("reward_sha256"),
        metrics={
            "reward_accuracy_low": figure("accuracy/test", "low"),
            "win_rate_low": figure("win_rate/policy_vs_sft", "low"),
            "kl": figure("kl/policy_from_sft", "value"),
            "length_ratio": figure("length_ratio/policy_vs_sft", "value"),
        },
        checks={s: _json(reports / s / "record.json").get("notes", {}).get("gate") == "pass" for s in GATED_STAGES},
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
    for name, measured in (("policy", evidence.policy_sha256), ("reward", evidence.reward_sha256)):
        demand(
            f"{name} bytes",
            evidence.evaluated.get(name) == measured,
            f"the {name} model in the workspace is not the one that was evaluated; run the evaluation again.",
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


def _json(path: Path) -> dict[str, Any]:
    """Content of a report; nothing if there is none, so that the gate refuses what it does not find."""
    if not path.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise BadInput(f"{path}: is not JSON; delete it and run again.") from None
    return content
