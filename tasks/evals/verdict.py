"""From figures to a decision: the hypotheses of params.yaml, tested on the records of the suite."""

import math
from collections.abc import Sequence
from typing import Any

from tasks.evaluation_params import Hypotheses, Hypothesis
from tasks.stats.bound_tests import BROKEN, KEPT, UNDECIDED, Figure, decide

NOT_MEASURED = "not measured"


def verdict(settings: Hypotheses, rows: list[dict[str, Any]], unseen: Sequence[str] = ()) -> dict[str, Any]:
    """{verdict, sentence, hypotheses, judge}: `broken` if a bound is, `kept` if all are and nothing is unseen, else
    `undecided`; `judge` says how far the judge of the win rates agrees with people.

    `rows`: results as written. Hypotheses about figures that are not among them are named, and left out of the family.
    `unseen`: sentences on closed incidents that the suite would not show if they came back.
    """
    by_name = {(r["metric"], r["slice"]): r for r in rows}
    found = [(h, by_name.get((h.metric, h.slice))) for h in settings.family]
    measured = [(h, r) for h, r in found if r is not None and math.isfinite(r["value"])]
    decisions = decide([_figure(h, r) for h, r in measured], settings.level, settings.power)
    decided = {id(h): d for (h, _), d in zip(measured, decisions, strict=True)}
    lines = [_line(h, r, decided.get(id(h))) for h, r in found]
    kinds = [line["verdict"] for line in lines]
    overall = BROKEN if BROKEN in kinds else KEPT if kinds and set(kinds) == {KEPT} and not unseen else UNDECIDED
    return {
        "verdict": overall,
        "sentence": " ".join([_sentence(overall, kinds), *unseen]),
        "hypotheses": lines,
        "judge": _judge(rows),
    }


def _judge(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each judge and file of people's votes, to stand beside the win rates; none without win rates."""
    if not any(r["metric"].startswith("preference/win_rate/") for r in rows):
        return []
    place = "preference/agreement/"
    found = {
        (*r["metric"].removeprefix(place).split("/", 1), r["slice"]): r for r in rows if r["metric"].startswith(place)
    }
    lines = []
    for (who, file, part), r in found.items():
        if who == "judge_with_people":
            people = found.get(("people_with_people", file, part))
            beside = f"; people agree with each other in {people['value']:.3f}" if people else ""
            judge = part.removeprefix("judge: ") if part else "the judge"
            lines.append(
                f"Win rates: {judge} agrees with people in {r['value']:.3f} ({r['low']:.3f} – {r['high']:.3f}) of the votes "
                f"on {r['n']} pairs of {file}{beside}."
            )
    return lines or ["Win rates: how far the judge agrees with people was not measured (suite.pairs names no votes)."]


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
    undecided = "No bound is broken, but not every one is shown to be kept."
    if set(kinds) == {KEPT}:
        undecided = "Every bound is kept, but an incident would come back unseen."
    said = {
        BROKEN: "A bound is broken: the policy should not be released as it is.",
        KEPT: "Every bound is kept.",
        UNDECIDED: undecided,
    }
    return f"{said[overall]} {len(kinds)} bounds: {counts}."
