"""Where a run's records are: `<home>/records/<run id>/`, with `run.json` as the one that sums it up."""

import json
from pathlib import Path
from typing import Any

from governance.digest import sha256_path, write_json
from governance.entry import Entry, Event
from governance.errors import BadInput, GateRefused

SCHEMA = "attestrl/run/1"
FIELDS = ("run_id", "status", "stages", "gate")  # that every record has
ENDS = (Event.RUN_ENDED, Event.RUN_FAILED, Event.RUN_KILLED)


def write_run_record(folder: Path, run: dict[str, Any]) -> None:
    """Write `run.json`."""
    write_json(folder / "run.json", run)


def load_run(folder: Path) -> dict[str, Any]:
    """Read `run.json`. Raises BadInput if it is damaged."""
    file = folder / "run.json"
    try:
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(record, dict) or not all(name in record for name in FIELDS):
            raise ValueError
    except ValueError:
        raise BadInput(
            f"{file}: is not the record of a run, so it was changed after it; restore it or move it away."
        ) from None
    return record


def run_folders(home: Path) -> list[Path]:
    """Folder of every run with a record, oldest first (run ids begin with the time)."""
    return [file.parent for file in sorted((home / "records").glob("*/run.json"))]


def list_runs(home: Path) -> list[dict[str, Any]]:
    """Every run with a record, oldest first."""
    return [load_run(folder) for folder in run_folders(home)]


def files_of(folder: Path) -> list[Path]:
    """Files of a run's folder, without what an interrupted write left."""
    return [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink() and not p.name.startswith(".")]


def check_unchanged(folder: Path, entries: list[Entry]) -> None:
    """Raises GateRefused unless the run's files are exactly those whose digests its last entry holds."""
    ended = next((e for e in reversed(entries) if e.type in ENDS), None)
    if ended is None:
        raise GateRefused(f"{folder.name}: has not ended, says the ledger; wait until it has, or run again.")
    found = {p.relative_to(folder).as_posix(): sha256_path(p) for p in files_of(folder)}
    for name in sorted(found.keys() | ended.subject_digests.keys()):
        if found.get(name) != ended.subject_digests.get(name):
            raise GateRefused(
                f"{folder / name}: is not the record that the ledger names; it was changed after the run."
            )
