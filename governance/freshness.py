"""What a change of the base model makes stale, and the full cycle that is due from then on.

A reward model learns to score what one base's descendants write; on another base its evaluation says nothing. So when
a run meets another base than earlier runs had, the evaluations of those are marked as stale, each in its own run's
entries, and a full cycle (data checks to evaluation) on the new base is due until a run has gone all the way on it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from governance.entry import Entry, Event
from governance.history import Readable
from governance.ledger import Log

SCHEMA = "attestrl/cycle/1"
DUE, DONE = "due", "done"


@dataclass(frozen=True)
class Stale:
    """An evaluation on another base: its run, and that run's base and verdict entry."""

    run_id: str
    base_sha256: str
    verdict: Entry


def stale_evaluations(ledger: Readable, base_path: str, base_sha256: str) -> list[Stale]:
    """Evaluations of runs on another base than this one that are not marked yet."""
    bases: dict[str, str] = {}
    verdicts: dict[str, Entry] = {}
    marked: set[str] = set()
    for e in ledger.entries():
        if e.type in (Event.STAGE_MADE, Event.STAGE_CACHED) and base_path in e.subject_digests:
            bases[e.run_id] = e.subject_digests[base_path]
        elif e.type == Event.GATE_VERDICT:
            verdicts[e.run_id] = e
        elif e.type == Event.EVALUATION_STALE:
            marked.add(e.run_id)
    return [
        Stale(run, bases[run], verdict)
        for run, verdict in verdicts.items()
        if run not in marked and bases.get(run, base_sha256) != base_sha256
    ]


def mark(ledger: Log, stale: list[Stale], base_sha256: str, run_id: str, actor: str) -> None:
    """Record what is stale, and that a full cycle is due; `run_id` is the run that met the new base."""
    with ledger.batch() as add:
        for s in stale:
            digests = {"base before": s.base_sha256, "base": base_sha256}
            digests |= {k: d for k, d in s.verdict.subject_digests.items() if k in ("reward", "evaluation")}
            add(
                Event.EVALUATION_STALE,
                run_id=s.run_id,
                actor=actor,
                subject_digests=digests,
                data={"because": run_id, "reason": "the base model was changed"},
            )
        data = {"reason": "the base model was changed", "stale": [s.run_id for s in stale]}
        add(Event.CYCLE_DUE, run_id=run_id, actor=actor, subject_digests={"base": base_sha256}, data=data)


def cycle(ledger: Readable) -> dict[str, Any] | None:
    """The latest cycle that was ever due, as its record; None if there is none."""
    found: dict[str, Any] | None = None
    for e in ledger.entries():
        if e.type == Event.CYCLE_DUE:
            found = {
                "schema": SCHEMA,
                "status": DUE,
                "base_sha256": e.subject_digests["base"],
                "since": e.ts,
                "because": e.run_id,
                "reason": e.data["reason"],
                "stale": e.data["stale"],
                "done_by": None,
            }
        elif e.type == Event.CYCLE_DONE and found and e.subject_digests["base"] == found["base_sha256"]:
            found |= {"status": DONE, "done_by": e.run_id}
    return found


def stale_since(entries: Iterable[Entry]) -> str | None:
    """A sentence if a run's evaluation is stale, from the run's entries."""
    marked = next((e for e in entries if e.type == Event.EVALUATION_STALE), None)
    if marked is None:
        return None
    before, now = (marked.subject_digests[k][:12] for k in ("base before", "base"))
    return f"stale since {marked.ts}: the base model was changed from {before} to {now} by run {marked.data['because']}"
