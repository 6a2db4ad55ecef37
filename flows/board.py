"""The runs of a project as its audit log tells of them at this moment, those of other machines among them: the table of
`attestrl runs --watch`, and the metrics that Prometheus reads."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from governance.entry import Entry, Event, entry_of
from governance.ledger import Log
from tasks import paths

LOOK_SECONDS = 1.0
SHOWN = 20  # latest runs in the table
ENDS = {Event.RUN_ENDED: "done", Event.RUN_FAILED: "failed", Event.RUN_KILLED: "killed"}
STAGES = (Event.STAGE_MADE, Event.STAGE_CACHED, Event.STAGE_FAILED)
METRICS = "runs.prom"


@dataclass
class Row:
    """A run: its `status` is running until it has ended; `stages` that have ended, by their outcome."""

    run_id: str
    started: datetime
    cause: str
    last: str
    stages: dict[str, str]
    status: str = "running"
    verdict: str = "none"
    message: str = ""
    ended: datetime | None = None

    @property
    def stage(self) -> str:
        """Stage that is under way; none before the first, and after the last."""
        following = [s for s in paths.STAGES[: paths.STAGES.index(self.last) + 1] if s not in self.stages]
        return following[0] if self.status == "running" and following else ""

    def seconds(self, now: datetime) -> float:
        """How long it took, or takes by now."""
        return ((self.ended or now) - self.started).total_seconds()


class Board:
    """Reads the log once, and what was added to it at each further look."""

    def __init__(self, ledger: Log) -> None:
        self._ledger = ledger
        self._lines = 0
        self._rows: dict[str, Row] = {}

    def rows(self) -> list[Row]:
        """Runs in the order in which they began, as the log has them now."""
        for line in self._ledger.lines(self._lines):
            if not line.endswith(b"\n"):
                break
            self._lines += 1
            if entry := entry_of(line):
                self._take(entry)
        return list(self._rows.values())

    def _take(self, entry: Entry) -> None:
        at, data = datetime.fromisoformat(entry.ts), entry.data
        if entry.type == Event.RUN_STARTED:
            cause = (data.get("cause") or {}).get("kind", "")
            self._rows[entry.run_id] = Row(entry.run_id, at, cause, data.get("until") or paths.STAGES[-1], {})
        elif row := self._rows.get(entry.run_id):
            if entry.type in STAGES:
                row.stages[data["stage"]] = entry.type.removeprefix("stage.")
            elif entry.type == Event.GATE_VERDICT:
                row.verdict = data["verdict"]
            elif entry.type in ENDS:
                row.status, row.ended = data.get("status", ENDS[Event(entry.type)]), at
                row.message = data.get("message", "")


def watch(ledger: Log) -> None:
    """Show the table until Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    board = Board(ledger)
    with Live(table(board.rows(), datetime.now(UTC)), console=Console(highlight=False), auto_refresh=False) as live:
        while True:
            time.sleep(LOOK_SECONDS)
            live.update(table(board.rows(), datetime.now(UTC)), refresh=True)


def table(rows: list[Row], now: datetime) -> Any:
    """The latest runs, newest first."""
    from rich.markup import escape
    from rich.table import Table

    shown = Table("run", "status", "stage", "done", "gate", "seconds", "cause", "message", box=None, pad_edge=False)
    for row in reversed(rows[-SHOWN:]):
        count = f"{len(row.stages)}/{paths.STAGES.index(row.last) + 1}"
        colour = {"running": "bold", "done": "green", "refused": "yellow"}.get(row.status, "red")
        cells = [f"[{colour}]{row.status}[/]", row.stage, count, row.verdict, f"{row.seconds(now):.0f}", row.cause]
        shown.add_row(row.run_id, *cells, escape(row.message))
    return shown


def write_metrics(rows: list[Row], waiting: int, file: Path) -> None:
    """Write what Prometheus' node_exporter reads. Every figure follows from the log, so that a restart loses none;
    `waiting`: releases on which nobody has decided."""
    from prometheus_client import CollectorRegistry, Counter, Gauge, write_to_textfile

    registry = CollectorRegistry()
    runs = Counter("attestrl_runs", "Runs that ended.", ("status",), registry=registry)
    stages = Counter("attestrl_stages", "Stages of all runs.", ("stage", "outcome"), registry=registry)
    ended = [(r, r.ended) for r in rows if r.ended]
    for row, _ in ended:
        runs.labels(row.status).inc()
    for stage, outcome in (pair for r in rows for pair in r.stages.items()):
        stages.labels(stage, outcome).inc()

    def gauge(name: str, text: str, value: float) -> None:
        Gauge(f"attestrl_{name}", text, registry=registry).set(value)

    gauge("runs_open", "Runs that have not ended.", len(rows) - len(ended))
    gauge("releases_waiting", "Releases that wait for a person.", waiting)
    if ended:
        last, at = max(ended, key=lambda pair: pair[1])
        gauge("last_run_seconds", "How long the run took that ended last.", last.seconds(at))
        gauge("last_run_end_timestamp_seconds", "When it ended.", at.timestamp())
    write_to_textfile(str(file), registry)
