"""Lineage as people read it in MLflow: datasets with a DVC source, models as inputs and outputs of runs.

Nothing here imports MLflow before it must: a run says that it has begun before it waits for libraries.
"""

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock

from governance.digest import PARTIAL, sha256_path
from tasks import paths


def git_commit() -> str:
    """Commit of the working tree, with `+changes` if tracked files differ from it; 'none' outside git.

    `params.yaml` and `dvc.lock` do not count as changes: a run writes both, and records them by content.
    """
    commit = _git("rev-parse", "HEAD")
    changes = _git(
        "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)params.yaml", ":(exclude)dvc.lock"
    )
    return (commit + "+changes" if changes else commit) or "none"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git on this machine: as outside of it
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def tracking_uri() -> str:
    """MLflow store: `MLFLOW_TRACKING_URI`, or SQLite in the project's state folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{paths.home() / 'mlflow.db'}"


def has_store() -> bool:
    """Whether there is anything in the store yet; a server is taken to hold something."""
    return "MLFLOW_TRACKING_URI" in os.environ or (paths.home() / "mlflow.db").is_file()


def _make_store() -> None:
    """Make the local store under a temporary name: one that a kill left half made would be taken for an old one, which
    MLflow cannot bring up to date."""
    import mlflow

    store = paths.home() / "mlflow.db"
    with FileLock(paths.home() / "mlflow.lock"):
        if not store.is_file():  # no other process was first
            temporary = store.with_name(f".{store.name}.{os.getpid()}.new{PARTIAL}")
            try:
                mlflow.MlflowClient(f"sqlite:///{temporary}").search_experiments()
                temporary.replace(store)
            finally:
                for left in store.parent.glob(f"{temporary.name}*"):  # of a full disk; SQLite keeps a journal beside it
                    left.unlink(missing_ok=True)


def connect(project: str) -> str:
    """Point MLflow at the store, make the project's experiment if needed, and give its id."""
    import logging

    logging.getLogger("alembic").setLevel(logging.WARNING)
    import mlflow

    paths.home().mkdir(parents=True, exist_ok=True)
    if not has_store():
        _make_store()
    mlflow.set_tracking_uri(tracking_uri())
    found = mlflow.get_experiment_by_name(project)
    if found is None:
        local = tracking_uri().startswith("sqlite:")
        mlflow.create_experiment(project, artifact_location=(paths.home() / "artifacts").as_uri() if local else None)
    return str(mlflow.set_experiment(project).experiment_id)


def read_record(stage: str) -> dict[str, Any]:
    """What the stage wrote about itself; empty if it never ran, and if the file is damaged: DVC sees that it is another
    one, and brings it back or makes the stage again."""
    file = paths.report(stage) / "record.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def unknown_stages(stages: Iterable[str]) -> list[str]:
    """Those whose record names a run that the store does not have."""
    import mlflow
    from mlflow.entities import ViewType

    client = mlflow.MlflowClient()
    named = {s: i for s in stages if (i := read_record(s).get("mlflow_run_id"))}
    if not named:
        return []
    experiments = [e.experiment_id for e in client.search_experiments(view_type=ViewType.ALL)]
    wanted = ", ".join(f"'{i}'" for i in named.values())
    known = client.search_runs(experiments, f"attributes.run_id IN ({wanted})", ViewType.ALL, max_results=len(named))
    there = {run.info.run_id for run in known}
    return [s for s, i in named.items() if i not in there]


def end_lost(stage: str, parent_run: str) -> None:
    """Say of a stage's runs below `parent_run` that have not ended that they were killed: whoever made them is lost."""
    import mlflow

    client = mlflow.MlflowClient()
    experiment = client.get_run(parent_run).info.experiment_id
    theirs = f"tags.`mlflow.parentRunId` = '{parent_run}' AND tags.`attestrl.stage` = '{stage}'"
    for run in client.search_runs([experiment], f"{theirs} AND attributes.status = 'RUNNING'"):
        client.set_terminated(run.info.run_id, status="KILLED")


def model_id_of(folder: Path) -> str | None:
    """MLflow id of the logged model whose files are in `folder`, from the record of the stage that made them."""
    for stage in paths.STAGES:
        model_id = read_record(stage).get("models", {}).get(folder.as_posix())
        if model_id:
            return str(model_id)
    return None


def lineage_of(folder: Path) -> dict[str, str]:
    """What a model made from the one in `folder` inherits: the base, and the digest of the folder under its name."""
    parent = json.loads((folder / "lineage.json").read_text(encoding="utf-8"))
    return {f"{folder.name}_sha256": sha256_path(folder), "base_sha256": parent["base_sha256"]}  # the base names itself
