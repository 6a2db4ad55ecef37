"""Report on one annotator, as for somebody new: may they go on alone, and what should they be told?"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from governance.digest import write_atomic, write_json
from governance.errors import BadInput
from tasks.annotator_findings import Findings
from tasks.pages import rendered
from tasks.params import Annotators
from tasks.polls import Poll
from tasks.stats.golden import LEAST_ACCURACY
from tasks.stats.intervals import wilson
from tasks.stats.sprt import sprt

PARTS = ("first third", "second third", "last third")
BETA = 0.05  # an inverter passes with at most about this probability
ACCURACY = (0.65, 0.95)  # of a careful annotator on golden items, within which the crowd's own is taken


def write_onboarding(annotator_id: str, found: Findings, cast: Poll, settings: Annotators, out: Path) -> dict[str, Any]:
    """Write annotator.html and annotator.json on one annotator of the poll."""
    at = cast.annotators.index_of(annotator_id)
    if at is None:
        raise BadInput(f"{annotator_id}: no vote is by this annotator; give an annotator_id of the file.")
    facts = onboarding(at, found, cast, settings)
    write_json(out / "annotator.json", facts)
    write_atomic(out / "annotator.html", rendered("annotator.html.j2", **facts))
    return facts


def onboarding(k: int, found: Findings, cast: Poll, settings: Annotators) -> dict[str, Any]:
    """Everything that is known of annotator `k` (a code), with 95 % intervals, beside what is usual here."""
    b = found.ballots
    rows = np.flatnonzero(b.who == k)
    if b.time is not None:
        rows = rows[np.argsort(b.time[rows], kind="stable")]
    golden = rows[b.on_golden[rows]]
    right = b.choice[golden] == b.known[b.item[golden]]
    careful = _careful_accuracy(found)
    test = sprt(right, careful, settings.golden_level, BETA)
    low, high = wilson(int(right.sum()), len(right))
    facts: dict[str, Any] = {
        "simulated": bool(cast.simulated[k]),
        "votes": len(rows),
        "reliability": _rate(found.reliability[k], found.low[k], found.high[k], float(np.median(found.reliability))),
        "agreement": _share(round(found.agreement[k] * len(rows)), len(rows), found.pair_agreement)
        if np.isfinite(found.agreement[k])
        else None,
        "golden": {"right": int(right.sum()), "votes": len(right), "low": low, "high": high, "expected": careful,
                   "alpha": settings.golden_level, "beta": BETA, **asdict(test)},
        "parts": _parts(rows, found),
        "leanings": {
            name: _share(round(found.habits.leanings[name].follows[k] * n), n, _crowd_share(found, name))
            for name in found.habits.leanings
            if (n := int(found.habits.leanings[name].known[k]))
        },
        "seconds_per_vote": _speed(k, found),
        "overconfidence": _number(found.habits.calibration.overconfidence[k]) if found.habits.calibration else None,
        "flagged": bool(found.flag[k]),
    }  # fmt: skip
    return facts | {"verdict": _verdict(facts)}


def _careful_accuracy(found: Findings) -> float:
    """Share of golden votes that people who are not flagged get right."""
    good = ~found.flag
    votes = int(found.golden.votes[good].sum())
    return float(np.clip(found.golden.right[good].sum() / votes if votes else 0.75, *ACCURACY))


def _verdict(facts: dict[str, Any]) -> str:
    test = facts["golden"]
    if facts["flagged"] or test["verdict"] == "fails":
        return "Not ready: look at these votes with the annotator before more are asked for; leave them out until then."
    if test["votes"] and test["verdict"] == "go on":
        return (
            f"Not decided yet: about {test['more']} more golden items tell whether this annotator reads "
            f"(right on at least {LEAST_ACCURACY:.0%}) or turns answers round."
        )
    if test["verdict"] == "passes":
        return "Ready: the golden items are passed. Go on mixing in some, so that a change is noticed."
    return "No golden item was answered: give some ten before relying on this annotator."


def _parts(rows: np.ndarray, found: Findings) -> list[dict[str, Any]]:
    """Thirds of the votes in order of time: share right, judged by the others, and mean stated confidence."""
    parts = []
    for name, part in zip(PARTS, np.array_split(rows, len(PARTS)), strict=True):
        if len(part):
            right = found.crowd.right[part].astype(np.float64)
            stated = found.ballots.confidence[part] if found.ballots.confidence is not None else np.array([np.nan])
            share = _share(round(right.sum()), len(part), None)
            known = stated[np.isfinite(stated)]
            parts.append({"part": name, "right": share, "confidence": float(known.mean()) if len(known) else None})
    return parts


def _crowd_share(found: Findings, name: str) -> float | None:
    leaning = found.habits.leanings[name]
    known = leaning.known.sum()
    return float((leaning.follows * leaning.known).sum() / known) if known else None


def _speed(k: int, found: Findings) -> dict[str, Any] | None:
    if found.habits.timing is None or np.isnan(found.habits.timing.gap[k]):
        return None
    return {"median": float(found.habits.timing.gap[k]), "usual": float(np.nanmedian(found.habits.timing.gap))}


def _share(successes: int, n: int, usual: float | None) -> dict[str, Any]:
    low, high = wilson(successes, n)
    return _rate(successes / n, low, high, usual)


def _rate(value: float, low: float, high: float, usual: float | None) -> dict[str, Any]:
    return {"share": float(value), "low": float(low), "high": float(high), "usual": _number(usual)}


def _number(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
