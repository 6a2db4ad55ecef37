"""Whom to trust: reliability, weight and findings of every annotator, from votes alone or with golden items.

Used by the stage `annotators` and by `attestrl check annotators`. Nobody's vote is ever turned round.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from governance.disclosure import EXPORTED
from tasks.annotator_findings import Findings, find
from tasks.annotator_report import marked, write_pages
from tasks.annotator_table import ACTIONS, table
from tasks.params import Annotators
from tasks.polls import Poll, poll
from tasks.stats.golden_design import golden_items_needed, golden_power, to_retire
from tasks.stats.intervals import wilson
from tasks.stats.suspicion import WAYS, Groups

POWER = 0.9


@dataclass(frozen=True)
class AnnotatorReport:
    """`table`: a row an annotator, the most suspect first; `summary`: figures and a sentence for people."""

    table: pl.DataFrame
    summary: dict[str, Any]


def check_annotators(votes: pl.DataFrame, golden: pl.DataFrame | None, settings: Annotators) -> AnnotatorReport:
    """Judge every annotator in `votes` (columns as in `tasks.votes.VOTES`, of which optional ones may lack)."""
    return judge(poll([votes], golden), settings)


def judge(cast: Poll, settings: Annotators, people: pl.DataFrame | None = None) -> AnnotatorReport:
    """Judge every annotator of a poll; `people` is what the vendor says of them, for the report alone."""
    if len(cast.ballots.who) == 0:
        empty = pl.DataFrame(
            schema={
                "annotator_id": pl.String,
                "flag": pl.Boolean,
                "score": pl.Float64,
                "weight": pl.Float64,
                "reason": pl.String,
                "reliability": pl.Float64,
            }
        )
        said = "There are no votes, so nothing is known of annotators."
        counts = dict.fromkeys(("votes", "annotators", "items", "flagged"), 0)
        return AnnotatorReport(empty, {"summary": said, **counts, "simulated": False})
    return reported(find(cast.ballots, settings), cast, settings, people)


def reported(found: Findings, cast: Poll, settings: Annotators, people: pl.DataFrame | None = None) -> AnnotatorReport:
    """The findings in words, with figures by group if anything is said of people."""
    from tasks.demographics import golden_accuracy_by_group

    rows = table(found, cast)
    summary = _summary(rows, found, cast, settings)
    if people is not None and people.height:
        summary["demographics"] = golden_accuracy_by_group(
            cast.annotators, found.golden.right, found.golden.votes, people
        )
    return AnnotatorReport(rows, summary)


def run_check_annotators(
    votes: Path,
    golden: Path | None,
    out: Path,
    settings: Annotators,
    people: Path | None = None,
    onboarding: str | None = None,
) -> dict[str, Any]:
    """Check a vendor's file and write the report to `out`; annotators.csv has the ids as the file has them.

    `people`: demographics, for the report alone; `onboarding`: the id of one annotator to report on in detail.
    """
    from tasks.demographics import read_people
    from tasks.onboarding import write_onboarding
    from tasks.votes import read_golden, refuse_foreign_golden, refuse_incomparable, vote_chunks

    known = read_golden(str(golden)) if golden else None
    left_out = 0

    def kept() -> Iterator[pl.DataFrame]:
        nonlocal left_out
        for chunk, without_choice in vote_chunks(str(votes)):
            left_out += without_choice
            yield chunk

    cast = poll(kept(), known)
    refuse_incomparable(len(cast.ballots.who), cast.annotators, str(votes))
    if known is not None:
        refuse_foreign_golden(known, cast.golden.values(), str(golden), str(votes))
    described = read_people(str(people)) if people else None
    found = find(cast.ballots, settings)
    report = reported(found, cast, settings, described)
    if onboarding is not None:
        write_onboarding(onboarding, found, cast, settings, out)
    if left_out:
        report.summary["left_out"] = left_out
        report.summary["summary"] += f" {left_out} rows were left out: their label is not a choice between two."
    del found, cast  # pages take memory, too
    write_pages(report.table, report.summary, out, named=False)
    return report.summary


def _summary(rows: pl.DataFrame, found: Findings, cast: Poll, settings: Annotators) -> dict[str, Any]:
    b = found.ballots
    flagged = rows.filter("flag")
    share = float(flagged["n_votes"].sum() / max(1, len(b.who)))
    on_golden = int(b.on_golden.sum())
    ways = np.where(found.unreliable, np.argmax(found.suspicion.ways, axis=1), -1)
    return {
        "summary": _sentence(rows, found, cast, share),
        "votes": len(b.who),
        "annotators": rows.height,
        "items": b.n_items,
        "flagged": flagged.height,
        "flagged_share": flagged.height / rows.height,
        "flagged_share_interval": list(wilson(flagged.height, rows.height)),
        "trusted_votes": len(b.who) - int(flagged["n_votes"].sum()),
        "flagged_votes_share": share,
        "actions": {name: int((rows["action"] == name).sum()) for name in ACTIONS},
        "flagged_for": {name: int((ways == k).sum()) for k, name in enumerate(WAYS)}
        | {"collusion": int((found.collusion.group >= 0).sum()), "golden items": int(found.golden.failed.sum())},
        "golden_votes": on_golden,
        "golden_advice": _golden_advice(found, cast, settings) if on_golden else None,
        "mean_reliability": float(found.reliability.mean()),
        "agreement": found.agreements,
        "disagreements": _disagreements(found, cast),
        "expected_calibration_error": found.habits.calibration.ece if found.habits.calibration else None,
        "calibration": _curve(found),
        "demographics": [],
        "repeated_votes": cast.repeated,
        "repeated_votes_that_contradict": cast.contradicted,
        "ties": cast.ties,
        "cannot_say": int(b.undecided.sum()) - cast.ties if b.undecided is not None else 0,
        "unreadable_times": cast.undated,
        "simulated": bool(cast.simulated.any()),
        "simulated_annotators": int(cast.simulated.sum()),
        "method": "crossed response model with empirical-Bayes false-discovery control; collusion and golden audits",
        "settings": settings.model_dump(),
    }


def _sentence(rows: pl.DataFrame, found: Findings, cast: Poll, share: float) -> str:
    b, flagged = found.ballots, int(rows["flag"].sum())
    who = f"{rows.height} annotators{marked(int(cast.simulated.sum()), rows.height)}"
    said = f"{who} gave {len(b.who)} votes; {flagged} of them, with {share:.1%} of the votes, are not to be trusted."
    review = int((rows["action"] == ACTIONS[1]).sum())
    if review:
        said += f" A person should look at {review} more."
    for group in found.suspicion.groups:
        members = int(group.members.sum())
        counted = f"{members} annotators ({group.share:.0%} of those who voted on it)"
        view = (
            "not with the others" if group.topic is None else f"see the topic {cast.topics[group.topic]!r} differently"
        )
        said += (
            f" {counted if members >= EXPORTED else f'Fewer than {EXPORTED} annotators'} agree among themselves and"
            f" {view}: a disagreement, not an attack."
        )
    if rows.height == 1 and not b.on_golden.any():
        said += " With a single annotator there is nobody to compare with: nothing can be said."
    elif not found.judged.any():
        said += " Nobody has enough votes on items that others voted on, so nobody can be judged."
    if (b.known >= 0).sum() == 0:
        said += " No golden item is among the votes, so the golden audit says nothing."
    if cast.repeated:
        said += f" {cast.repeated} repeated votes on an item were left out; {cast.contradicted} contradict the first."
    if cast.undated:
        said += f" {cast.undated} times could not be read."
    return said


def _golden_advice(found: Findings, cast: Poll, settings: Annotators) -> dict[str, Any]:
    """Power of the golden set as it is, items needed for POWER, and golden items whose answer may be wrong."""
    seen = found.golden.votes[found.golden.votes > 0]
    tested, median = len(seen), int(np.median(seen))
    honest = float(np.median(found.reliability[~found.flag])) if (~found.flag).any() else 0.75
    level = settings.golden_level / 2
    trusted = ~found.flag & (found.log_odds < 0)
    retire = to_retire(found.ballots, trusted, settings.golden_level)
    return {
        "golden_items_per_annotator": median,
        "power_against_inverters": golden_power(median, 1 - honest, tested, level),
        "power_against_guessers": golden_power(median, 0.5, tested, level),
        "needed_against_inverters": golden_items_needed(1 - honest, tested, level, POWER),
        "needed_against_guessers": golden_items_needed(0.5, tested, level, POWER),
        "power_wanted": POWER,
        "retire": [cast.golden[k] for k in retire.tolist()],
    }


def _curve(found: Findings) -> list[dict[str, Any]]:
    curve = found.habits.calibration.curve if found.habits.calibration else []
    return [
        {"confidence": stated, "right": right, "votes": n}
        | dict(zip(("low", "high"), wilson(round(right * n), n), strict=True))
        for stated, right, n in curve
    ]


def _disagreements(found: Findings, cast: Poll) -> list[dict[str, Any]]:
    return [
        {
            "topic": None if group.topic is None else cast.topics[group.topic],
            "share_of_annotators": group.share,
            "low": wilson(int(group.members.sum()), group.people)[0],
            "high": wilson(int(group.members.sum()), group.people)[1],
            **_share_of_votes(found, group),
            "members": int(group.members.sum()),
            "golden_right": group.golden_right,
            "golden_votes": group.golden,
        }
        for group in found.suspicion.groups
    ]


def _share_of_votes(found: Findings, group: Groups) -> dict[str, float]:
    """What part of the data a group's view is."""
    b = found.ballots
    on_topic = np.ones(len(b.who), dtype=bool) if b.topic is None or group.topic is None else b.topic == group.topic
    theirs = int((on_topic & group.members[b.who]).sum())
    return {"share_of_topic_votes": theirs / max(1, int(on_topic.sum())), "share_of_votes": theirs / len(b.who)}
