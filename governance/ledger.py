"""Append-only audit log: one JSON document a line, each naming the hash of the one before it.

`entry_hash` is the SHA-256 of the canonical JSON (RFC 8785) of the other fields; `prev_hash` of the first entry is 64
zeros. An append is reported only after fsync. A partial last line, left by a crash, is cut off by the next append and
recorded as an entry of its own.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock

from governance.digest import canonical_json, sha256_bytes

GENESIS = "0" * 64
_TAIL = 1 << 16


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
    APPROVED = "decision.approved"
    REJECTED = "decision.rejected"
    RECOVERED = "ledger.recovered"


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


@dataclass(frozen=True)
class Verification:
    """Result of `Ledger.verify`; every problem is a sentence that names the line."""

    ok: bool
    entries: int
    problems: list[str]


def hash_of(fields: dict[str, Any]) -> str:
    """Hash of an entry from its fields; an `entry_hash` among them is left out."""
    return sha256_bytes(canonical_json({k: v for k, v in fields.items() if k != "entry_hash"}))


class Ledger:
    """The log in the file `path`. Several processes may append: a lock beside the file makes them take turns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path.with_name(path.name + ".lock"))

    def append(
        self, type: str, *, run_id: str, actor: str, subject_digests: dict[str, str], data: dict[str, Any]
    ) -> Entry:
        """Add an entry and give it back once it is on the disk. Raises if `data` is not JSON (NaN included)."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, self.path.open("a+b") as file:
            lost = _cut_partial_line(file)
            last = _last_entry(file)
            if lost:
                last = asdict(_write(file, last, Event.RECOVERED, "", "attestrl", {}, {"bytes_cut": lost}))
            return _write(file, last, type, run_id, actor, subject_digests, data)

    def entries(self, run_id: str | None = None) -> Iterator[Entry]:
        """Entries in order, of one run if asked for; lines that cannot be read are passed over (see `verify`)."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            for line in file:
                fields = _parse(line)
                if isinstance(fields, dict) and (run_id is None or fields["run_id"] == run_id):
                    yield Entry(**fields)

    def verify(self) -> Verification:
        """Check every line against its hash and its neighbours. Streams: memory does not grow with the log."""
        problems: list[str] = []
        lines, seq, previous = 0, 0, GENESIS
        if not self.path.is_file():
            return Verification(True, 0, [])
        with self.path.open("rb") as file:
            for line in file:
                lines += 1
                fields = _parse(line)
                if isinstance(fields, str):
                    problems.append(f"line {lines}: {fields}")
                    seq, previous = seq + 1, ""
                    continue
                problems += [f"line {lines}: {p}" for p in _check(fields, line, seq, previous)]
                seq, previous = fields["seq"] + 1, fields["entry_hash"]
        return Verification(not problems, lines, problems)


FIELDS = frozenset(Entry.__dataclass_fields__)
_TYPES = {"seq": int, "subject_digests": dict, "data": dict}


def _parse(line: bytes) -> dict[str, Any] | str:
    """Fields of a line, or a sentence that says why it is none."""
    if not line.endswith(b"\n"):
        return "is cut off; the next append recovers and records it"
    try:
        fields = json.loads(line)
    except ValueError:
        return "is not JSON"
    if not isinstance(fields, dict) or fields.keys() != FIELDS:
        return "has not exactly the fields of an entry"
    if any(type(fields[name]) is not _TYPES.get(name, str) for name in FIELDS):
        return "has a field of the wrong type"
    return fields


def _check(fields: dict[str, Any], line: bytes, seq: int, previous: str) -> list[str]:
    problems = []
    if hash_of(fields) != fields["entry_hash"]:
        problems.append("was edited: its content does not have the hash that it names")
    elif canonical_json(fields) + b"\n" != line:
        problems.append("was edited: it is not written as it was hashed")
    if fields["seq"] != seq:
        problems.append(
            f"has seq {fields['seq']} where {seq} belongs: an entry was deleted, inserted, repeated or moved"
        )
    if previous and fields["prev_hash"] != previous:
        problems.append("does not follow the entry before it: the chain is broken")
    return problems


def _write(
    file: BinaryIO,
    last: dict[str, Any] | None,
    type: str,
    run_id: str,
    actor: str,
    digests: dict[str, str],
    data: dict[str, Any],
) -> Entry:
    fields: dict[str, Any] = {
        "seq": last["seq"] + 1 if last else 0,
        "prev_hash": last["entry_hash"] if last else GENESIS,
        "ts": datetime.now(UTC).isoformat(timespec="microseconds"),
        "type": str(type),
        "run_id": run_id,
        "actor": actor,
        "subject_digests": digests,
        "data": data,
    }
    entry = Entry(**fields, entry_hash=hash_of(fields))
    file.write(canonical_json(asdict(entry)) + b"\n")
    file.flush()
    os.fsync(file.fileno())
    return entry


def _cut_partial_line(file: BinaryIO) -> int:
    """Bytes cut off the end so that the file ends with a whole line."""
    size = file.seek(0, os.SEEK_END)
    keep = _after_last_newline(file, size)
    if keep < size:
        file.truncate(keep)
    return size - keep


def _last_entry(file: BinaryIO) -> dict[str, Any] | None:
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return None
    start = _after_last_newline(file, size - 1)
    file.seek(start)
    fields: dict[str, Any] = json.loads(file.read(size - start))
    return fields


def _after_last_newline(file: BinaryIO, end: int) -> int:
    """Position after the last newline before `end`; 0 if there is none."""
    while end > 0:
        start = max(0, end - _TAIL)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
