"""What later runs, schedules and triggers ask of the audit log, read once: each further question reads only what was added
since."""

from collections.abc import Iterator
from typing import Protocol

from governance.entry import Entry, Event, entry_of
from governance.ledger import Log

_ASKED = frozenset(
    [
        Event.RUN_STARTED,
        Event.ROUND_LABELLED,
        Event.RUN_ENDED,
        Event.RUN_FAILED,
        Event.RUN_KILLED,
        Event.GATE_VERDICT,
        Event.EVALUATION_STALE,
        Event.CYCLE_DUE,
        Event.CYCLE_DONE,
        Event.INCIDENT_OPENED,
        Event.INCIDENT_UPDATED,
        Event.INCIDENT_CLOSED,
        Event.APPROVED,
        Event.REJECTED,
        Event.EXPIRED,
        Event.REMINDED,
        Event.ALARM,
        Event.SCHEDULE_SET,
        Event.SLOT_MISSED,
    ]
)
_STAGES = frozenset([Event.STAGE_MADE, Event.STAGE_CACHED])


class Readable(Protocol):
    """A log, or what was kept of one."""

    def entries(self, run_id: str | None = None) -> Iterator[Entry]:
        """Entries in order, of one run if asked for."""


class History:
    """Entries of a log that tell how earlier runs ended, on which base, under which parameters last, what was decided on
    them, which incidents and alarms there are, and what was scheduled; memory grows with runs, not with entries."""

    def __init__(self, ledger: Log) -> None:
        self._ledger = ledger
        self._lines = 0
        self._kept: list[Entry] = []
        self._configuration: Entry | None = None

    def entries(self, run_id: str | None = None) -> Iterator[Entry]:
        """See `Readable`: up to the log's end at this moment."""
        for line in self._ledger.lines(self._lines):
            if not line.endswith(b"\n"):  # cut by a crash: another line will stand in its place
                break
            self._lines += 1
            if entry := entry_of(line):
                self._take(entry)
        last = [self._configuration] if self._configuration else []
        return (e for e in [*self._kept, *last] if run_id is None or e.run_id == run_id)

    def _take(self, entry: Entry) -> None:
        if entry.type == Event.CONFIGURATION:
            self._configuration = entry
        elif entry.type in _ASKED or (entry.type in _STAGES and entry.data.get("stage") == "base"):
            self._kept.append(entry)
