"""Runs of a project, from their records on the disk."""

from typing import Any

from flows import sealing
from governance import freshness
from governance.errors import BadInput
from governance.records import list_runs, load_run
from tasks import paths


def runs() -> list[dict[str, Any]]:
    """Every run, latest first, without its stages."""
    return [{k: v for k, v in r.items() if k != "stages"} for r in reversed(list_runs(paths.home()))]


def load(run_id: str) -> dict[str, Any]:
    """One run; 'latest' names the last. Raises BadInput for an unknown one."""
    if run_id == "latest":
        known = list_runs(paths.home())
        if not known:
            raise BadInput("there are no runs yet; `attestrl run` makes the first.")
        return _with_notices(dict(known[-1]))
    folder = paths.home() / "records" / run_id
    if "/" in run_id or not (folder / "run.json").is_file():
        raise BadInput(f"{run_id}: there is no such run; `attestrl runs` lists them.")
    return _with_notices(load_run(folder))


def _with_notices(record: dict[str, Any]) -> dict[str, Any]:
    """The record, and what the ledger says of it since."""
    stale = freshness.stale_since(sealing.ledger().entries(record["run_id"]))
    return record | {"stale": stale} if stale else record
