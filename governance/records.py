"""Where a run's records are: `<home>/records/<run id>/`, with `run.json` as the one that sums it up."""

import json
from pathlib import Path
from typing import Any

from governance.digest import write_json
from governance.errors import BadInput

SCHEMA = "attestrl/run/1"


def write_run_record(folder: Path, run: dict[str, Any]) -> None:
    """Write `run.json`."""
    write_json(folder / "run.json", run)


def load_run(folder: Path) -> dict[str, Any]:
    """Read `run.json`. Raises BadInput if it is damaged."""
    file = folder / "run.json"
    try:
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise BadInput(f"{file}: is not JSON, so it was changed after its run; restore it or move it away.") from None
    return record


def list_runs(home: Path) -> list[dict[str, Any]]:
    """Every run with a record, oldest first (run ids begin with the time)."""
    return [load_run(file.parent) for file in sorted((home / "records").glob("*/run.json"))]
