"""Append-only audit log: one JSON document a line, each naming the hash of the one before it.

`entry_hash` is the SHA-256 of the canonical JSON (RFC 8785) of the other fields; `prev_hash` of the first entry is 64
zeros. An append is reported only after fsync. A partial last line, left by a crash, is cut off by the next append and
recorded as an entry of its own.

The chain shows every change to an entry that others follow. It cannot show that whole entries at the end are gone, or
that all of them were written anew: that takes a signed checkpoint kept elsewhere (`governance.checkpoint`).
"""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from filelock import FileLock

from governance.article_12 import POINTS
from governance.digest import canonical_json, sha256_bytes
from governance.errors import BadInput

GENESIS = "0" * 64
MAX_PROBLEMS = 100
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
    """Result of `Ledger.verify`; every problem is a sentence that names the line, the first `MAX_PROBLEMS` of them."""

    ok: bool
    entries: int
    problems: list[str]


def hash_of(fields: dict[str, Any]) -> str:
    """Hash of an entry from its fields; an `entry_hash` among them is left out."""
    return _written(fields)[0]


def entry_line(entry: Entry) -> bytes:
    """The entry as it stands in the log, with its newline."""
    return _written(asdict(entry))[1]


def entry_of(line: bytes) -> Entry | None:
    """The entry that a line of the log holds; None if it cannot be read."""
    fields = _parse(line)
    return Entry(**fields) if isinstance(fields, dict) else None


class Log(ABC):
    """An audit log, wherever its lines are kept. Several writers may append: they take turns."""

    @abstractmethod
    def batch(self) -> AbstractContextManager["Append"]:
        """Add many entries by calling what this gives, as `append` is called; they are durable when the block ends.

        Raises BadInput if the last line is no entry to follow.
        """

    @abstractmethod
    def lines(self) -> Iterator[bytes]:
        """The lines in order, as they were when this was called; a cut one, left by a crash, among them."""

    def append(
        self, type: str, *, run_id: str, actor: str, subject_digests: dict[str, str], data: dict[str, Any]
    ) -> Entry:
        """Add an entry and give it back once it is on the disk.

        Raises ValueError if `data` is not JSON (NaN included), BadInput if the last line is no entry to follow.
        """
        with self.batch() as add:
            return add(type, run_id=run_id, actor=actor, subject_digests=subject_digests, data=data)

    def entries(self, run_id: str | None = None) -> Iterator[Entry]:
        """Entries in order, of one run if asked for; lines that cannot be read are passed over (see `verify`)."""
        for line in self.lines():
            entry = entry_of(line)
            if entry and (run_id is None or entry.run_id == run_id):
                yield entry

    def verify(self, visit: Callable[[str], None] | None = None) -> Verification:
        """Check every line against its hash and its neighbours. Streams: memory does not grow with the log.

        `visit` gets the hash that each line names, in order; an empty text for a line that names none.
        """
        problems: list[str] = []
        lines, seq, previous = 0, 0, GENESIS
        for line in self.lines():
            lines += 1
            fields = _parse(line)
            if isinstance(fields, str):
                found, seq, previous = [fields], seq + 1, ""
            else:
                found = _check(fields, line, seq, previous)
                seq, previous = fields["seq"] + 1, fields["entry_hash"]
            problems += [f"line {lines}: {p}" for p in found][: MAX_PROBLEMS - len(problems)]
            if visit:
                visit(previous)
        return Verification(not problems, lines, problems)


class Appender:
    """Writes the entries that follow `last` (a line, or nothing for an empty log) through `write`.

    Raises BadInput if `last` is no entry; `where` names the log.
    """

    def __init__(self, last: bytes, write: Callable[[bytes, int], object], where: str) -> None:
        self._write = write
        self._last: tuple[int, str] | None = None
        fields = _parse(last) if last else None
        if isinstance(fields, str):
            raise BadInput(f"{where}: its last line {fields}; `attestrl ledger verify` says more, restore a backup.")
        if fields:
            self._last = (fields["seq"], fields["entry_hash"])

    def __call__(
        self, type: str, *, run_id: str, actor: str, subject_digests: dict[str, str], data: dict[str, Any]
    ) -> Entry:
        """Add an entry."""
        entry, line = _follow(self._last, type, run_id, actor, subject_digests, data)
        self._write(line, entry.seq)
        self._last = (entry.seq, entry.entry_hash)
        return entry


class Ledger(Log):
    """The log in the file `path`. Several processes may append: a lock beside the file makes them take turns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path.with_name(path.name + ".lock"))

    @contextmanager
    def batch(self) -> Iterator["Append"]:
        """See `Log.batch`: one fsync, when the block ends."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, self.path.open("a+b") as file:
            lost = _cut_partial_line(file)
            add = Appender(_last_line(file), lambda line, _: file.write(line), str(self.path))
            try:
                if lost:
                    digests = {"bytes cut": sha256_bytes(lost)}
                    data = {"bytes_cut": len(lost)}
                    add(Event.RECOVERED, run_id="", actor="attestrl", subject_digests=digests, data=data)
                yield add
            finally:
                file.flush()
                os.fsync(file.fileno())

    def lines(self) -> Iterator[bytes]:
        """See `Log.lines`."""
        if not self.path.is_file():
            return
        left = self._settled_size()
        with self.path.open("rb") as file:
            for line in file:
                left -= len(line)
                if left < 0:  # appended since
                    break
                yield line

    def _settled_size(self) -> int:
        """Bytes of the log at a moment when no line is half written."""
        try:
            with self._lock:
                return self.path.stat().st_size
        except OSError:  # a copy that cannot be locked, on a read-only medium
            return self.path.stat().st_size


class Append(Protocol):
    """What `Log.batch` gives."""

    def __call__(
        self, type: str, *, run_id: str, actor: str, subject_digests: dict[str, str], data: dict[str, Any]
    ) -> Entry:
        """Add an entry."""


FIELDS = frozenset(Entry.__dataclass_fields__)
_TYPES = {"seq": int, "subject_digests": dict, "data": dict}


def _parse(line: bytes) -> dict[str, Any] | str:
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


def _check(fields: dict[str, Any], line: bytes, seq: int, previous: str) -> list[str]:
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


def _follow(
    last: tuple[int, str] | None,
    type: str,
    run_id: str,
    actor: str,
    digests: dict[str, str],
    data: dict[str, Any],
) -> tuple[Entry, bytes]:
    """The entry after `last` and its line."""
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


def _cut_partial_line(file: BinaryIO) -> bytes:
    """What was cut off the end so that the file ends with a whole line."""
    keep = _after_last_newline(file, file.seek(0, os.SEEK_END))
    file.seek(keep)
    lost = file.read()
    if lost:
        file.truncate(keep)
    return lost


def _last_line(file: BinaryIO) -> bytes:
    """The last line of a file that ends with a whole one; nothing if the file is empty."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return b""
    file.seek(_after_last_newline(file, size - 1))
    return file.read()


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
