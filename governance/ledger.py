"""Append-only audit log: one entry (`governance.entry`) a line, each naming the hash of the one before it.

An append is reported only after fsync. A partial last line, left by a crash, is cut off by the next append and
recorded as an entry of its own.

The chain shows every change to an entry that others follow. It cannot show that whole entries at the end are gone, or
that all of them were written anew: that takes a signed checkpoint kept elsewhere (`governance.checkpoint`).
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from filelock import FileLock

from governance.digest import sha256_bytes, sync_folder
from governance.entry import GENESIS, Entry, Event, check, entry_of, follow, parse
from governance.errors import BadInput

MAX_PROBLEMS = 100
_TAIL = 1 << 16


@dataclass(frozen=True)
class Verification:
    """Result of `Ledger.verify`; every problem is a sentence that names the line, the first `MAX_PROBLEMS` of them."""

    ok: bool
    entries: int
    problems: list[str]


class Log(ABC):
    """An audit log, wherever its lines are kept. Several writers may append: they take turns."""

    @abstractmethod
    def batch(self) -> AbstractContextManager["Append"]:
        """Add many entries by calling what this gives, as `append` is called; they are durable when the block ends.

        Raises BadInput if the last line is no entry to follow.
        """

    @abstractmethod
    def lines(self, after: int = 0) -> Iterator[bytes]:
        """The lines but for the first `after`, in order, as they were when this was called; a cut one, left by a crash,
        among them."""

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

    def verify(self, visit: Callable[[str, dict[str, Any]], None] | None = None) -> Verification:
        """Check every line against its hash and its neighbours. Streams: memory does not grow with the log.

        `visit` gets the hash that each line names and its fields, in order; an empty text and no fields for a line that
        cannot be read.
        """
        problems: list[str] = []
        lines, seq, previous = 0, 0, GENESIS
        for line in self.lines():
            lines += 1
            fields = parse(line)
            if isinstance(fields, str):
                found, seq, previous = [fields], seq + 1, ""
            else:
                found = check(fields, line, seq, previous)
                seq, previous = fields["seq"] + 1, fields["entry_hash"]
            problems += [f"line {lines}: {p}" for p in found][: MAX_PROBLEMS - len(problems)]
            if visit:
                visit(previous, {} if isinstance(fields, str) else fields)
        return Verification(not problems, lines, problems)


class Appender:
    """Writes the entries that follow `last` (a line, or nothing for an empty log) through `write`.

    Raises BadInput if `last` is no entry; `where` names the log.
    """

    def __init__(self, last: bytes, write: Callable[[bytes, int], object], where: str) -> None:
        self._write = write
        self._last: tuple[int, str] | None = None
        fields = parse(last) if last else None
        if isinstance(fields, str):
            raise BadInput(f"{where}: its last line {fields}; `attestrl ledger verify` says more, restore a backup.")
        if fields:
            self._last = (fields["seq"], fields["entry_hash"])

    def __call__(
        self, type: str, *, run_id: str, actor: str, subject_digests: dict[str, str], data: dict[str, Any]
    ) -> Entry:
        """Add an entry."""
        entry, line = follow(self._last, type, run_id, actor, subject_digests, data)
        self._write(line, entry.seq)
        self._last = (entry.seq, entry.entry_hash)
        return entry


class Ledger(Log):
    """The log in the file `path`. Several processes may append: a lock beside the file makes them take turns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path.with_name(path.name + ".lock"))
        self._read = (0, 0)  # so many whole lines, and the bytes that they take: where a later question goes on

    @contextmanager
    def batch(self) -> Iterator["Append"]:
        """See `Log.batch`: one fsync, when the block ends."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, self.path.open("a+b") as file:
            if file.tell() == 0:
                sync_folder(self.path.parent)
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

    def lines(self, after: int = 0) -> Iterator[bytes]:
        """See `Log.lines`."""
        if not self.path.is_file():
            return
        end = self._settled_size()
        number, at = self._read if self._read[0] <= after and self._read[1] <= end else (0, 0)
        with self.path.open("rb") as file:
            file.seek(at)
            for line in file:
                number, at = number + 1, at + len(line)
                if at > end:  # appended since
                    break
                if number > after:
                    yield line
                if line.endswith(b"\n"):
                    self._read = (number, at)

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
