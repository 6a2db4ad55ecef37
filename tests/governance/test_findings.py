"""Records of evaluations and golden audits: what the reports say, with schema and version, and nothing of a person."""

import json

from governance.digest import sha256_bytes
from governance.findings import evaluation, golden_audits
from tests.governance.judged import row
from tests.governance.test_schemas import problems


def test_an_evaluation_names_models_figures_and_reports() -> None:
    evaluate = {"base_sha256": "b" * 64, "policy_sha256": "a" * 64, "metrics": [row("kl/policy_from_sft", 3.0)]}
    reward = {"base_sha256": "b" * 64, "reward_sha256": "c" * 64, "metrics": [row("accuracy/test", None, "short")]}
    reports = {
        f"reports/{n}.json": (json.dumps(r).encode(), r) for n, r in (("evaluate", evaluate), ("reward", reward))
    }
    record = evaluation(reports)
    assert problems("evaluation", record) == []
    assert record["models"] == {"base": "b" * 64, "policy": "a" * 64, "reward": "c" * 64}
    assert [(f["name"], f["value"], f["slice"], f["report"]) for f in record["figures"]] == [
        ("kl/policy_from_sft", 3.0, None, "reports/evaluate.json"),
        ("accuracy/test", None, "short", "reports/reward.json"),
    ]
    assert record["reports"]["reports/reward.json"] == sha256_bytes(reports["reports/reward.json"][0])
    assert problems("evaluation", record | {"figures": []})


def test_a_golden_audit_holds_counts_alone() -> None:
    summary = {
        "summary": "164 annotators gave 8000 votes; p-0123456789ab is not to be trusted.",
        "votes": 8000, "annotators": 164, "flagged": 3, "golden_votes": 8000, "mean_reliability": 0.82,
        "simulated": False, "method": "golden audit", "settings": {"golden_level": 0.01},
    }  # fmt: skip
    record = golden_audits({"audits/rte/votes": summary})
    assert problems("golden-audit", record) == []
    assert "p-0123456789ab" not in json.dumps(record)
    assert problems("golden-audit", golden_audits({"votes": summary | {"flagged": [0, 10]}})) == []
    assert problems("golden-audit", golden_audits({"votes": summary | {"flagged": [0]}}))
    assert problems("golden-audit", golden_audits({"votes": {}}))
