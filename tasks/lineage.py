"""Lineage as people read it in MLflow: datasets with a DVC source, models as inputs and outputs of runs.

MLflow identifies a dataset by a digest of at most 36 characters, so the digest shown is the first 32 of the SHA-256;
the source holds it whole, beside the MD5 under which DVC keeps the bytes.
"""

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from mlflow.data.dataset import Dataset
from mlflow.data.dataset_source import DatasetSource

from governance.digest import sha256_path
from tasks import paths


class DVCSource(DatasetSource):
    """A file that DVC tracks: path in the project, MD5 in DVC's cache, SHA-256 of the bytes, git commit."""

    def __init__(self, path: str, md5: str, sha256: str, git_commit: str) -> None:
        self.fields = {"path": path, "md5": md5, "sha256": sha256, "git_commit": git_commit}

    @staticmethod
    def _get_source_type() -> str:
        return "dvc"

    def load(self, **kwargs: Any) -> Path:
        """Path of the file in the workspace; `dvc checkout` brings an earlier version back."""
        return Path(self.fields["path"])

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return False

    @classmethod
    def _resolve(cls, raw_source: Any) -> "DVCSource":
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """JSON form that MLflow stores."""
        return dict(self.fields)

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> "DVCSource":
        """Inverse of `to_dict`."""
        return cls(**source_dict)


class TrackedTable(Dataset):
    """A table or file, named by its path, identified by its SHA-256."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sha256 = sha256_path(path)
        md5 = ""  # DVC names a folder by a listing of its own
        if path.is_file():
            with path.open("rb") as f:
                md5 = hashlib.file_digest(f, "md5").hexdigest()
        source = DVCSource(path.as_posix(), md5, self.sha256, git_commit())
        super().__init__(source=source, name=path.as_posix(), digest=self.sha256[:32])

    def _compute_digest(self) -> str:
        return self.sha256[:32]

    def to_dict(self) -> dict[str, str]:
        """Entity that MLflow stores."""
        rows = None
        if self.path.suffix == ".parquet":
            import polars as pl

            rows = pl.scan_parquet(self.path).select(pl.len()).collect().item()
        files = [self.path] if self.path.is_file() else [p for p in self.path.rglob("*") if p.is_file()]
        profile = json.dumps({"rows": rows, "bytes": sum(p.stat().st_size for p in files)})
        return {**super().to_dict(), "schema": "{}", "profile": profile}

    @property
    def schema(self) -> Any:
        """Column names are in the datasheet, not here."""
        return None

    @property
    def profile(self) -> Any:
        """See `to_dict`."""
        return None


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
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def tracking_uri() -> str:
    """MLflow store: `MLFLOW_TRACKING_URI`, or SQLite in the project's state folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{paths.home() / 'mlflow.db'}"


def has_store() -> bool:
    """Whether there is anything in the store yet; a server is taken to hold something."""
    return "MLFLOW_TRACKING_URI" in os.environ or (paths.home() / "mlflow.db").is_file()


def connect(project: str) -> str:
    """Point MLflow at the store, make the project's experiment if needed, and give its id."""
    import logging

    logging.getLogger("alembic").setLevel(logging.WARNING)
    import mlflow

    paths.home().mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(tracking_uri())
    found = mlflow.get_experiment_by_name(project)
    if found is None:
        local = tracking_uri().startswith("sqlite:")
        mlflow.create_experiment(project, artifact_location=(paths.home() / "artifacts").as_uri() if local else None)
    return str(mlflow.set_experiment(project).experiment_id)


def model_id_of(folder: Path) -> str | None:
    """MLflow id of the logged model whose files are in `folder`, from the record of the stage that made them."""
    for record in sorted(paths.REPORTS.glob("*/record.json")):
        model_id = json.loads(record.read_text()).get("models", {}).get(folder.as_posix())
        if model_id:
            return str(model_id)
    return None


def lineage_of(folder: Path) -> dict[str, str]:
    """What a model made from the one in `folder` inherits: the base, and the digest of the folder under its name."""
    parent = json.loads((folder / "lineage.json").read_text(encoding="utf-8"))
    return {f"{folder.name}_sha256": sha256_path(folder), "base_sha256": parent["base_sha256"]}  # the base names itself
