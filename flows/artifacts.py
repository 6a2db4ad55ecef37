"""What runs attached in an MLflow store elsewhere (a server, a bucket), looked through and deleted by MLflow's client.

What lies in the state folder of this project is a file like any other and none of this module's. Models are not looked
through: their folders hold weights and a tokenizer, no rows.
"""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from governance import erasure
from governance.digest import sha256_path
from governance.errors import MissingComponent
from tasks import lineage, params, paths


def holders(text: str) -> Iterator[tuple[str, str, int]]:
    """(name, SHA-256, rows) of every artifact of this project's runs that holds the text. A name is run:path."""
    if not lineage.has_store():
        return
    with _client() as client:
        for run in _runs(client):
            for name in _files(run):
                with _downloaded(name, _repository(run)) as file:
                    if rows := erasure.rows_in(file, text):
                        yield name, sha256_path(file), rows


def of_runs(mlflow_run_ids: Iterable[str]) -> list[str]:
    """Names of all artifacts of these MLflow runs."""
    wanted = set(mlflow_run_ids)
    if not wanted or not lineage.has_store():
        return []
    with _client() as client:
        return [name for run in _runs(client) if run.info.run_id in wanted for name in _files(run)]


def delete(names: Iterable[str]) -> int:
    """Delete artifacts, those that are still there; gives how many were."""
    removed = 0
    with _client() as client:
        for run_id, _, path in (name.partition(":") for name in sorted(names)):
            repository = _repository(client.get_run(run_id))
            parent = str(PurePosixPath(path).parent)
            if any(f.path == path for f in repository.list_artifacts("" if parent == "." else parent)):
                repository.delete_artifacts(path)
                removed += 1
    return removed


@contextmanager
def _client() -> Iterator[Any]:
    """MLflow's client. Raises MissingComponent, in one sentence, where the store does not do what is asked."""
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        mlflow.set_tracking_uri(lineage.tracking_uri())
        yield mlflow.MlflowClient()
    except (MlflowException, ImportError, OSError) as error:
        said = " ".join(str(error).split())[:200]
        raise MissingComponent(f"artifacts in the MLflow store cannot be looked through or deleted: {said}") from None


def _runs(client: Any) -> Iterator[Any]:
    """Runs of this project whose artifacts lie elsewhere, deleted ones among them."""
    from mlflow.entities import ViewType

    found = client.get_experiment_by_name(params.load(paths.PARAMS).project)
    token: str | None = ""
    while found and token is not None:
        page = client.search_runs([found.experiment_id], run_view_type=ViewType.ALL, page_token=token or None)
        yield from (run for run in page if not _is_ours(run.info.artifact_uri))
        token = page.token or None


def _is_ours(uri: str) -> bool:
    """Whether artifacts lie in the state folder."""
    parts = urlsplit(uri)
    return parts.scheme in ("", "file") and Path(unquote(parts.path)).is_relative_to(paths.home().absolute())


def _repository(run: Any) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(run.info.artifact_uri)


def _files(run: Any) -> Iterator[str]:
    """Names of a run's artifacts."""
    repository, folders = _repository(run), [""]
    while folders:
        for file in repository.list_artifacts(folders.pop()):
            if file.is_dir:
                folders.append(file.path)
            else:
                yield f"{run.info.run_id}:{file.path}"


@contextmanager
def _downloaded(name: str, repository: Any) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(repository.download_artifacts(name.partition(":")[2], dst_path=scratch))
