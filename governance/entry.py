"""Entries of the audit log: their types, their fields, how a line is written, hashed and checked.

A line is the canonical JSON (RFC 8785) of all fields and a newline; `entry_hash` is the SHA-256 of the canonical JSON of
the others, `prev_hash` that of the entry before, 64 zeros for the first.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from governance.article_12 import POINTS
from governance.digest import canonical_json, sha256_bytes

GENESIS = "0" * 64


class Event(StrEnum):
    """Types of entries."""

    RUN_STARTED = "run.started"
    RUN_ENDED = "run.ended"
    RUN_FAILED = "run.failed"
    RUN_KILLED = "run.killed"
    CONFIGURATION = "run.configuration"
    STAGE_MADE = "stage.made"
    STAGE_CACHED = "stage.cached"
    STAGE_FAILED = "stage.failed"
    GATE_VERDICT = "gate.verdict"
    DATA_QUARANTINED = "data.quarantined"
    MODEL_REGISTERED = "model.registered"
    ALIAS_MOVED = "alias.moved"
    EVALUATED = "evaluation.made"
    APPROVED = "decision.approved"
    REJECTED = "decision.rejected"
    REFUSED = "decision.refused"
    RECOVERED = "ledger.recovered"
    KEY_MADE = "key.made"
    KEY_ROTATED = "key.rotated"
    KEY_REVOKED = "key.revoked"
    EXPORTED = "evidence.exported"
    EVALUATION_STALE = "evaluation.stale"
    CYCLE_DUE = "cycle.due"
    CYCLE_DONE = "cycle.done"
    ERASED = "privacy.erased"
    RETENTION_DELETED = "retention.deleted"
    RETENTION_REVIEW = "retention.review_due"
    INCIDENT_OPENED = "incident.opened"
    INCIDENT_UPDATED = "incident.updated"
    INCIDENT_CLOSED = "incident.closed"
    SCHEDULE_SET = "schedule.set"
    SLOT_MISSED = "schedule.missed"
    REMINDED = "decision.reminded"
    EXPIRED = "decision.expired"
    MONITORED = "monitor.read"
    ALARM = "monitor.alarm"
    ROUND_ASKED = "round.asked"
    ROUND_LABELLED = "round.labelled"


@dataclass(frozen=True)
class Entry:
    """One entry; `ts` is UTC in ISO 8601."""

    seq: int
    prev_hash: str
    ts: str
    type: str
    run_id: str
    actor: str
    subject_digests: dict[str, str]
    data: dict[str, Any]
    entry_hash: str


def hash_of(fields: dict[str, Any]) -> str:
    """Hash of an entry from its fields; an `entry_hash` among them is left out."""
    return _written(fields)[0]


def entry_line(entry: Entry) -> bytes:
    """The entry as it stands in the log, with its newline."""
    return _written(asdict(entry))[1]


def entry_of(line: bytes) -> Entry | None:
    """The entry that a line of the log holds; None if it cannot be read."""
    fields = parse(line)
    return Entry(**fields) if isinstance(fields, dict) else None


FIELDS = frozenset(Entry.__dataclass_fields__)
_TYPES = {"seq": int, "subject_digests": dict, "data": dict}


def parse(line: bytes) -> dict[str, Any] | str:
    """Fields of a line, or a sentence that says why it is none."""
    if not line.endswith(b"\n"):
        return "is cut off; the next append recovers and records it"
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return "is not JSON"
    if not isinstance(fields, dict) or fields.keys() != FIELDS:
        return "has not exactly the fields of an entry"
    if any(type(fields[name]) is not _TYPES.get(name, str) for name in FIELDS):
        return "has a field of the wrong type"
    return fields


def check(fields: dict[str, Any], line: bytes, seq: int, previous: str) -> list[str]:
    """What is wrong with a line that holds these fields, where `seq` belongs after the hash `previous` ("" if unknown)."""
    problems = []
    try:
        digest, written = _written(fields)
        if digest != fields["entry_hash"]:
            problems.append("was edited: its content does not have the hash that it names")
        elif written != line:
            problems.append("was edited: it is not written as it was hashed")
    except (ValueError, RecursionError):
        problems.append("was edited: it holds a value that no entry can hold")
    if fields["seq"] != seq:
        what = "deleted or moved away before it" if fields["seq"] > seq else "inserted, repeated or moved here"
        problems.append(f"has seq {fields['seq']} where {seq} belongs: an entry was {what}")
    if previous and fields["prev_hash"] != previous:
        problems.append("does not follow the entry before it: the chain is broken")
    return problems


def _written(fields: dict[str, Any]) -> tuple[str, bytes]:
    """Hash of an entry and its line. In sorted order `entry_hash` stands between `data` and `prev_hash`, so the line is
    what was hashed with the hash put in, and the content is made canonical only once."""
    before = canonical_json({k: v for k, v in fields.items() if k < "entry_hash"})[:-1]
    after = canonical_json({k: v for k, v in fields.items() if k > "entry_hash"})[1:]
    digest = sha256_bytes(before + b"," + after)
    return digest, b'%b,"entry_hash":"%b",%b\n' % (before, digest.encode(), after)


def follow(
    last: tuple[int, str] | None,
    type: str,
    run_id: str,
    actor: str,
    digests: dict[str, str],
    data: dict[str, Any],
) -> tuple[Entry, bytes]:
    """The entry after `last` (its seq and hash; None for the first) and its line."""
    fields: dict[str, Any] = {
        "seq": last[0] + 1 if last else 0,
        "prev_hash": last[1] if last else GENESIS,
        "ts": datetime.now(UTC).isoformat(timespec="microseconds"),
        "type": str(type),
        "run_id": run_id,
        "actor": actor,
        "subject_digests": digests,
        "data": data | {"ai_act": POINTS[type]} if type in POINTS else data,
    }
    digest, line = _written(fields)
    return Entry(**fields, entry_hash=digest), line
