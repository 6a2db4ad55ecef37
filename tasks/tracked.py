"""Files and tables as MLflow's datasets, with a DVC source.

MLflow identifies a dataset by a digest of at most 36 characters, so the digest shown is the first 32 of the SHA-256;
the source holds it whole, beside the MD5 under which DVC keeps the bytes.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from mlflow.data.dataset import Dataset
from mlflow.data.dataset_source import DatasetSource

from governance.digest import sha256_path
from tasks import lineage


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
        source = DVCSource(path.as_posix(), md5, self.sha256, lineage.git_commit())
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
