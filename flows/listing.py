"""Runs of a project, from their records on the disk."""

from pathlib import Path
from typing import Any

from flows import sealing
from governance import freshness
from governance.errors import BadInput
from governance.records import load_run, run_folders
from tasks import paths

DAMAGED = "damaged"


def runs() -> list[dict[str, Any]]:
    """Every run, latest first, without its stages; one whose record cannot be read has the status `damaged`, and why."""
    return [_without_stages(folder) for folder in reversed(run_folders(paths.home()))]


def _without_stages(folder: Path) -> dict[str, Any]:
    try:
        return {k: v for k, v in load_run(folder).items() if k != "stages"}
    except BadInput as error:
        gate = {"verdict": "unknown", "reasons": []}
        return {"run_id": folder.name, "status": DAMAGED, "gate": gate, "message": str(error)}


def load(run_id: str) -> dict[str, Any]:
    """One run; 'latest' names the last, a part of an id the only run whose id has it at its beginning or its end. Raises
    BadInput for an unknown one."""
    known = {folder.name: folder for folder in run_folders(paths.home())}
    if run_id == "latest":
        if not known:
            raise BadInput("there are no runs yet; `attestrl run` makes the first.")
        return _with_notices(load_run(list(known.values())[-1]))
    meant = (
        [run_id] if run_id in known else [k for k in known if run_id and (k.startswith(run_id) or k.endswith(run_id))]
    )
    if not meant:
        raise BadInput(f"{run_id}: there is no such run; `attestrl runs` lists them.")
    if len(meant) > 1:
        raise BadInput(f"{run_id}: is the beginning or the end of {len(meant)} runs' ids; `attestrl runs` lists them.")
    return _with_notices(load_run(known[meant[0]]))


def _with_notices(record: dict[str, Any]) -> dict[str, Any]:
    """The record, and what the ledger says of it since."""
    stale = freshness.stale_since(sealing.ledger().entries(record["run_id"]))
    return record | {"stale": stale} if stale else record
