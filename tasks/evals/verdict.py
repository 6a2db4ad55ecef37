"""From figures to a decision: the hypotheses of params.yaml, tested on the records of the suite."""

import math
from typing import Any

from tasks.evaluation_params import Hypotheses, Hypothesis
from tasks.stats.bound_tests import BROKEN, KEPT, UNDECIDED, Figure, decide

NOT_MEASURED = "not measured"


def verdict(settings: Hypotheses, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """{verdict, sentence, hypotheses}: `broken` if a bound is, `kept` if all are, else `undecided`.

    `rows`: results as written. Hypotheses about figures that are not among them are named, and left out of the family.
    """
    by_name = {(r["metric"], r["slice"]): r for r in rows}
    found = [(h, by_name.get((h.metric, h.slice))) for h in settings.family]
    measured = [(h, r) for h, r in found if r is not None and math.isfinite(r["value"])]
    decisions = decide([_figure(h, r) for h, r in measured], settings.level, settings.power)
    decided = {id(h): d for (h, _), d in zip(measured, decisions, strict=True)}
    lines = [_line(h, r, decided.get(id(h))) for h, r in found]
    kinds = [line["verdict"] for line in lines]
    overall = BROKEN if BROKEN in kinds else KEPT if kinds and set(kinds) == {KEPT} else UNDECIDED
    return {"verdict": overall, "sentence": _sentence(overall, kinds), "hypotheses": lines}


def _figure(hypothesis: Hypothesis, row: dict[str, Any]) -> Figure:
    at_least = hypothesis.at_least is not None
    bound = hypothesis.at_least if hypothesis.at_least is not None else hypothesis.at_most
    assert bound is not None
    return Figure(row["value"], row["low"], row["high"], row["level"], row["n"], bound, at_least)


def _line(hypothesis: Hypothesis, row: dict[str, Any] | None, decision: Any) -> dict[str, Any]:
    line = hypothesis.model_dump() | {k: row[k] if row else None for k in ("value", "low", "high", "n")}
    if decision is None:
        return line | {"verdict": NOT_MEASURED, "p_value": None, "needed": None, "means": "was not measured."}
    means = {
        KEPT: "is kept.",
        BROKEN: "is broken.",
        UNDECIDED: f"is not decided by {line['n']} items; about {decision.needed} would do."
        if decision.needed
        else "is not decided: the figure lies on its bound.",
    }[decision.verdict]
    return line | {"verdict": decision.verdict, "p_value": decision.p_value, "needed": decision.needed, "means": means}


def _sentence(overall: str, kinds: list[str]) -> str:
    if not kinds:
        return "No bounds are declared (hypotheses.family of params.yaml): nothing is decided."
    counts = ", ".join(f"{kinds.count(k)} {k}" for k in (BROKEN, KEPT, UNDECIDED, NOT_MEASURED) if k in kinds)
    said = {
        BROKEN: "A bound is broken: the policy should not be released as it is.",
        KEPT: "Every bound is kept.",
        UNDECIDED: "No bound is broken, but not every one is shown to be kept.",
    }[overall]
    return f"{said} {len(kinds)} bounds: {counts}."
