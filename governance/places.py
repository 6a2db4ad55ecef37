"""Where signed checkpoints are kept: a folder, a branch of a git remote, or a prefix of an object store.

    evidence.checkpoints: /mnt/witness/checkpoints             a folder, also as file:///mnt/witness/checkpoints
    evidence.checkpoints: git@host:audit/witness.git#branch    a git remote (`governance.git_place`)
    evidence.checkpoints: s3://bucket/prefix                   whatever fsspec knows (S3, GCS, Azure, SFTP, …)

Who keeps the place decides what the log's writer may do there: adding is enough. Verification reads from the place
itself, at each time, and believes no copy that lies beside the log.
"""

import re
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from governance.digest import sync_folder, write_atomic
from governance.errors import BadInput, MissingComponent

BRANCH = "attestrl-checkpoints"
# One request puts a whole object; elsewhere a reader could meet half a file, so that it is written aside and moved.
_OBJECTS = frozenset(["s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci"])
_GIT = re.compile(r"(?P<url>git\+.+?|(?:ssh|git)://.+?|[\w.-]+@[\w.-]+:.+?|.+\.git/?)(?:#(?P<branch>[^#]+))?")


class Place(Protocol):
    """Where checkpoints are kept."""

    def read(self) -> dict[str, bytes]:
        """Content of every file by its name."""

    def write(self, name: str, content: bytes) -> None:
        """Add a file; whole or not at all."""


class Folder:
    """Checkpoints in a folder, which may be on a volume of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, bytes]:
        """Content of every file by its name; hidden files, which writing leaves when it is killed, are passed over."""
        if not self.path.is_dir():
            return {}
        files = [f for f in sorted(self.path.iterdir()) if f.is_file() and not f.name.startswith(".")]
        return {f.name: f.read_bytes() for f in files}

    def write(self, name: str, content: bytes) -> None:
        """Add a file. Raises MissingComponent if the folder cannot be written."""
        try:
            write_atomic(self.path / name, content)
            sync_folder(self.path)  # what is remembered of it beside the keys must not outlive it
        except OSError as error:
            raise MissingComponent(
                f"{self.path}: no checkpoint can be written there ({error.strerror}); see evidence.checkpoints."
            ) from None


class Store:
    """Checkpoints under a URL that fsspec knows, such as s3://bucket/prefix. Credentials and endpoints come from where
    its package looks for them (for S3 the variables AWS_…, or ~/.aws)."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._protocol = urlsplit(url).scheme

    def read(self) -> dict[str, bytes]:
        """Content of every file by its name, asked from the store anew. Raises MissingComponent if it does not answer."""
        system, prefix = self._system
        try:
            found = [p for p in system.find(prefix, maxdepth=1) if not p.rpartition("/")[2].startswith(".")]
            content = system.cat(found) if found else {}
        except FileNotFoundError:
            return {}
        except Exception as error:  # every store has errors of its own
            raise self._unreachable("read", error) from None
        return {path.rpartition("/")[2]: bytes(data) for path, data in content.items()}

    def write(self, name: str, content: bytes) -> None:
        """Add a file. Raises MissingComponent if the store does not take it."""
        system, prefix = self._system
        path = f"{prefix}/{name}"
        try:
            if self._protocol in _OBJECTS:
                system.pipe_file(path, content)
            else:
                system.makedirs(prefix, exist_ok=True)
                system.pipe_file(f"{prefix}/.{name}", content)
                system.mv(f"{prefix}/.{name}", path)
        except Exception as error:
            raise self._unreachable("written", error) from None

    @cached_property
    def _system(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        try:
            system, path = url_to_fs(self.url, use_listings_cache=False)
        except ImportError as error:
            raise MissingComponent(f"evidence.checkpoints {self.url}: {_sentence(error)}.") from None
        except ValueError as error:
            raise BadInput(f"evidence.checkpoints {self.url}: names no place ({_sentence(error)}).") from None
        return system, path.rstrip("/")

    def _unreachable(self, what: str, error: Exception) -> MissingComponent:
        said = _sentence(error) or type(error).__name__
        return MissingComponent(f"evidence.checkpoints {self.url}: no checkpoint can be {what} there ({said}).")


def place_at(text: str) -> Place:
    """The place that `evidence.checkpoints` names. Raises BadInput if it holds a password: parameters are copied into
    every record."""
    if "://" in text and urlsplit(text.removeprefix("git+")).password is not None:
        raise BadInput(
            "evidence.checkpoints: holds a password, and params.yaml is copied into every record; give it to git's "
            "credential helper, or in the variables that the store's package reads."
        )
    if named := _GIT.fullmatch(text):
        from governance.git_place import GitBranch

        return GitBranch(named["url"].removeprefix("git+"), named["branch"] or BRANCH)
    if text.startswith("file://"):
        return Folder(Path(text.removeprefix("file://")))
    return Store(text) if "://" in text else Folder(Path(text))


def _sentence(error: Exception) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), "")
