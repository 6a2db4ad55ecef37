"""Records of what was measured: the evaluation of a run's models, and the audit of annotators against gold answers.

Both are made from the run's own reports, whose digests they name, so that a reader need not know how a report is laid out.
"""

from collections.abc import Mapping
from typing import Any

from governance.digest import sha256_bytes

EVALUATION, GOLDEN_AUDIT = "attestrl/evaluation/1", "attestrl/golden-audit/1"
_FIGURE = ("name", "value", "low", "high", "n", "slice")
_AUDIT = ("annotators", "votes", "golden_votes", "flagged", "mean_reliability", "simulated", "method", "settings")


def evaluation(reports: Mapping[str, tuple[bytes, dict[str, Any]]]) -> dict[str, Any]:
    """Record of an evaluation: `reports` holds the bytes and the content of each report by its name in the run's folder.
    Every figure has its interval (null where none was measured), its number of cases and the slice that it is of."""
    models: dict[str, str | None] = {}
    figures = []
    for name, (_, report) in reports.items():
        models |= {k.removesuffix("_sha256"): v for k, v in report.items() if k.endswith("_sha256")}
        figures += [{k: r.get(k) for k in _FIGURE} | {"report": name} for r in report.get("metrics", [])]
    digests = {name: sha256_bytes(content) for name, (content, _) in reports.items()}
    return {"schema": EVALUATION, "models": models, "figures": figures, "reports": digests}


def golden_audits(tables: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Record of the audits of annotators by table of votes, from the reports on annotators; counts alone, no person.
    A table without gold answers (`golden_votes` is 0) was judged by agreement only."""
    return {
        "schema": GOLDEN_AUDIT,
        "tables": {name: {k: found.get(k) for k in _AUDIT} for name, found in tables.items()},
    }
