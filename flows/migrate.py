"""`attestrl migrate`: the history of a project that ran on one machine, moved to the servers of a team.

MLflow's store is copied row by row into the server's PostgreSQL, so that experiments, runs, models and versions keep their
ids; artifacts are uploaded through the server, and their addresses follow. The ledger's lines are copied as they are, and
verified there against the checkpoints that were signed here. Both are empty before. What is here is only read: it is the
way back. Flow runs of the local Prefect server are not moved: what they did stands in the ledger and in MLflow.
"""

import os
from pathlib import Path
from typing import Any

from flows import exclusive, sealing
from governance.errors import BadInput, GateRefused, MissingComponent
from governance.ledger import Ledger
from governance.postgres_ledger import PostgresLedger
from tasks import paths

BUSY = "a run is under way in this project; migrate when it has ended."
VERSION = "alembic_version"  # of the schema; each store has its own


def migrate(database: str) -> dict[str, int]:
    """Move to the ledger at ATTESTRL_LEDGER_URL, the MLflow server at MLFLOW_TRACKING_URI, and its `database`; gives how
    many entries, runs and artifacts. Raises BadInput if any of them is not named, or not empty."""
    ledger_url, tracking = os.environ.get("ATTESTRL_LEDGER_URL"), os.environ.get("MLFLOW_TRACKING_URI", "")
    if not ledger_url or not tracking.startswith("http"):
        raise BadInput("set ATTESTRL_LEDGER_URL and MLFLOW_TRACKING_URI to the servers to which this project moves.")
    here, there = Ledger(paths.home() / "ledger.jsonl"), PostgresLedger(ledger_url)
    with exclusive.alone(BUSY):
        if not here.path.is_file():
            raise BadInput("there is nothing to move yet; the first run can be made on the servers.")
        if not (found := here.verify()).ok:
            raise GateRefused(f"the ledger does not verify ({found.problems[0]}); what is damaged is not moved.")
        if next(there.lines(), None) is not None:
            raise BadInput("the ledger in PostgreSQL (ATTESTRL_LEDGER_URL) holds entries; name an empty one.")
        runs, files = _move_store(database)
        entries = there.take_over(here.lines())
        if not (moved := sealing.notary().verify()).ok:
            raise GateRefused(f"the ledger does not verify after it was moved: {moved.problems[0]}.")
    return {"entries": entries, "runs": runs, "artifacts": files}


def _move_store(database: str) -> tuple[int, int]:
    """Runs and artifacts that were moved."""
    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError

    local = paths.home() / "mlflow.db"
    if not local.is_file():
        return 0, 0
    source = sqlalchemy.create_engine(f"sqlite:///{local}")
    try:
        target = sqlalchemy.create_engine(database)
        with source.connect() as old, target.begin() as new:
            runs = _copy(old, new)
            files = _upload(paths.home() / "artifacts", _relocate(new))
    except (SQLAlchemyError, ImportError) as error:
        said = (str(error).strip().splitlines() or ["it did not say why"])[0]
        raise MissingComponent(f"the MLflow server's database (--mlflow-database): {said}") from None
    return runs, files


def _copy(old: Any, new: Any) -> int:
    """Copy every row into a store that has none of its own; the number of runs."""
    import sqlalchemy
    from sqlalchemy import func, select, text

    tables = sqlalchemy.MetaData()
    tables.reflect(new)
    if VERSION not in tables.tables:
        raise BadInput("--mlflow-database: is no MLflow store; start the server once, which makes it.")
    versions = [list(c.execute(text(f"SELECT version_num FROM {VERSION}"))) for c in (old, new)]
    if versions[0] != versions[1]:
        raise BadInput("the MLflow server has another version than this machine; install the same on both.")
    runs = tables.tables["runs"]
    if new.execute(select(func.count()).select_from(runs)).scalar():
        raise BadInput("--mlflow-database: holds runs; name the store of a server that is empty.")
    known = set(sqlalchemy.inspect(old).get_table_names()) - {VERSION}
    ordered = [t for t in tables.sorted_tables if t.name in known]
    for table in reversed(ordered):
        new.execute(table.delete())  # the experiment that each new store has
    for table in ordered:
        if rows := [dict(row) for row in old.execute(select(table)).mappings()]:
            new.execute(table.insert(), rows)
        for column in table.primary_key.columns:  # the next number that the server gives is a new one
            if sequence := new.execute(_sequence(table.name, column.name)).scalar():
                highest = select(func.coalesce(func.max(column), 0)).scalar_subquery()
                new.execute(select(func.setval(sequence, highest + 1, False)))
    return int(new.execute(select(func.count()).select_from(runs)).scalar())


def _sequence(table: str, column: str) -> Any:
    """The query for the sequence from which a column takes its numbers, if it does."""
    from sqlalchemy import func, select

    return select(func.pg_get_serial_sequence(table, column))


def _relocate(new: Any) -> str:
    """Write where artifacts are now: below the first experiment of this project, by whose rights the server gives them.
    The folder, as the server has it."""
    import sqlalchemy
    from sqlalchemy import String, func, select

    before = (paths.home() / "artifacts").as_uri()
    tables = sqlalchemy.MetaData()
    tables.reflect(new)
    experiments = tables.tables["experiments"]
    first = new.execute(
        select(func.min(experiments.c.experiment_id)).where(experiments.c.artifact_location == before)
    ).scalar()
    now = f"mlflow-artifacts:/{first if first is not None else 0}"
    for table in tables.sorted_tables:
        for column in (c for c in table.columns if isinstance(c.type, String)):
            moved = now + func.substr(column, len(before) + 1)
            mine = (column == before) | column.startswith(f"{before}/", autoescape=True)
            new.execute(table.update().where(mine).values({column: moved}))
    return now


def _upload(folder: Path, address: str) -> int:
    """Send every file to the server; how many there are."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    if not folder.is_dir():
        return 0
    try:
        get_artifact_repository(address).log_artifacts(str(folder))
    except (MlflowException, OSError) as error:
        raise MissingComponent(f"the MLflow server does not take artifacts: {error}") from None
    return sum(1 for p in folder.rglob("*") if p.is_file())
