"""What a killed run may have left is set right before the next one begins. Called under the run lock: no other run of
this project is alive.
"""

from pathlib import Path

from flows import delivery, leftovers, run_records, worktrees
from governance.entry import Event
from governance.history import Readable
from governance.ledger import Log
from tasks import lineage, paths


def recover(ledger: Log, history: Readable) -> None:
    """End stages that outlived their run, mend what DVC may have left half written, close what was left open."""
    leftovers.end_leftovers()
    worktrees.take_over()
    leftovers.mend_dvc_lock()
    leftovers.drop_stale_rwlock()
    leftovers.drop_partial_objects()
    state = paths.home()
    leftovers.remove_half_written(Path(), state, *(folder for folder in state.iterdir() if folder.is_dir()))
    close_abandoned(ledger, history)


def recover_store() -> None:
    """Tell MLflow what it has not been told, and close there what a dead process left running."""
    if lineage.has_store():
        delivery.deliver_kept()
        _end_mlflow_runs()


def open_runs(history: Readable) -> set[str]:
    """Runs that were started here and have not ended: at most one of them is alive. Other machines may write into the same
    ledger, each for its own state folder."""
    found: set[str] = set()
    for entry in history.entries():
        if entry.type == Event.RUN_STARTED and entry.data.get("place", paths.place()) == paths.place():
            found.add(entry.run_id)
        elif entry.type in (Event.RUN_ENDED, Event.RUN_FAILED, Event.RUN_KILLED):
            found.discard(entry.run_id)
    return found


def close_abandoned(ledger: Log, history: Readable) -> None:
    """Say in the ledger of runs that were started and never ended that they were killed."""
    with ledger.batch() as add:
        for run_id in sorted(open_runs(history)):
            left, folder = list(ledger.entries(run_id)), paths.home() / "records" / run_id
            leftovers.remove_half_written(folder, *(inner for inner in folder.rglob("*") if inner.is_dir()))
            digests = run_records.write_abandoned(folder, left)
            data = {"status": "killed", "message": run_records.ABANDONED, "entries": len(left)}
            add(Event.RUN_KILLED, run_id=run_id, actor="attestrl", subject_digests=digests, data=data)


def _end_mlflow_runs() -> None:
    """End there what this place's runs left open: its earlier runs are over, and with them their stages, wherever they ran.
    A stage that `dvc repro` runs beside us is alive, and stays open."""
    import mlflow

    client = mlflow.MlflowClient(lineage.tracking_uri())
    experiments = [e.experiment_id for e in client.search_experiments()]
    for run in client.search_runs(experiments, "attributes.status = 'RUNNING'"):
        tags = run.data.tags
        if "attestrl.process" not in tags:
            continue
        of_a_run = tags.get("mlflow.parentRunId")
        owner = client.get_run(of_a_run).data.tags if of_a_run else tags
        alive = not of_a_run and _began_before(int(tags["attestrl.process"]), run.info.start_time)
        if not alive and owner.get("attestrl.place", paths.place()) == paths.place():
            client.set_terminated(run.info.run_id, status="KILLED")


def _began_before(process: int, moment: int) -> bool:
    """Whether a process is there that began before `moment`, in ms since 1970: after a restart of the machine its number
    may be another one's. A second more is allowed, as the clock of a process counts in ticks."""
    import psutil

    try:
        return bool(psutil.Process(process).create_time() * 1000 <= moment + 1000)
    except psutil.NoSuchProcess:
        return False
