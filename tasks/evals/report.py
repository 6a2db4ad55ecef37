"""`report.html` of an evaluation: one file that opens from disk. Verdict first, then the worst findings with examples,
what changed against the champion, curves, and every figure with its slices."""

import base64
import io
from pathlib import Path
from typing import Any

from governance.digest import write_atomic
from tasks.pages import rendered
from tasks.plots import canvas

LONGEST = 600  # characters shown of a text
WORST = 12  # findings shown


def write_report(
    path: Path,
    *,
    run_id: str,
    policy: dict[str, Any],
    evaluations: list[dict[str, Any]],
    verdict: dict[str, Any],
    champion: tuple[str, dict[tuple[str, str | None], dict[str, Any]]] | None,
    simulated: list[str],
) -> None:
    """Write the page. `evaluations`: contents of the suite's files; `champion`: run id and figures of the champion, by
    metric and slice, where it was evaluated, too."""
    findings = [f | {"of": e["evaluation"]} for e in evaluations for f in e["findings"]]
    findings.sort(key=lambda f: -f["severity"])
    results = [r for e in evaluations for r in e["results"]]
    page = rendered(
        "evaluation_report.html.j2",
        {"shown": _shown, "figure": _figure},
        run_id=run_id,
        policy=policy,
        verdict=verdict,
        findings=findings[:WORST],
        evaluations=evaluations,
        compared=_compared(results, champion[1]) if champion else [],
        champion=champion[0] if champion else None,
        curves=[{"title": c["title"], "png": _picture(c)} for e in evaluations for c in e["curves"]],
        digests={"data": _digests(results, "data"), "models": _digests(results, "models")},
        simulated=simulated,
    )
    write_atomic(path, page)


def _compared(
    results: list[dict[str, Any]], before: dict[tuple[str, str | None], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Figures of the policy that the champion has, too; `apart`: their intervals do not overlap."""
    rows = []
    for r in results:
        old = before.get((r["metric"], r["slice"]))
        if r["slice"] is None and "policy" in r["models"] and old and None not in (r["value"], old["value"]):
            apart = r["low"] > old["high"] or r["high"] < old["low"]
            rows.append({"metric": r["metric"], "now": r, "then": old, "apart": apart})
    return rows


def _digests(results: list[dict[str, Any]], kind: str) -> dict[str, str]:
    return dict(sorted({name: sha for r in results for name, sha in r[kind].items()}.items()))


def _shown(value: Any) -> str:
    text = _figure(value) if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _figure(value: float | None) -> str:
    return "—" if value is None else f"{value:.4g}"


def _picture(curve: dict[str, Any]) -> str:
    """PNG of a curve, as base64."""
    figure, (axis,) = canvas(1, curve["title"])
    figure.set_size_inches(5.5, 3.5)
    for name, points in curve["lines"].items():
        axis.plot(*zip(*points, strict=True), marker=".", label=name)
    axis.set_xlabel(curve["x"], fontsize=8)
    axis.set_ylabel(curve["y"], fontsize=8)
    axis.legend(fontsize=7)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return base64.b64encode(data.getvalue()).decode()
