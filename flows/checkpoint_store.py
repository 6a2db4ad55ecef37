"""Checkpoints of a stage that runs on a worker, kept in the DVC remote so that another worker can go on from them.

They lie beside DVC's own objects, in `attestrl-checkpoints/<stage>/`, and are whole: the file that names the tensors'
SHA-256 is written last, and what `tasks.checkpoints` does not find to be whole and of its own training it does not take.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import Any

from flows.background import repeated
from governance.errors import MissingComponent
from tasks import paths
from tasks.checkpoints import STATE

FOLDER = "attestrl-checkpoints"
LOOK_SECONDS = 1.0


class CheckpointStore:
    """The checkpoints of a stage of the project in the current folder."""

    def __init__(self, stage: str) -> None:
        from dvc.exceptions import DvcException
        from dvc.repo import Repo

        self.here = paths.home() / "checkpoints" / stage
        try:
            with Repo() as repo:
                remote = repo.cloud.get_remote()
        except (DvcException, ImportError) as error:  # the latter where a kind of remote wants a package
            raise MissingComponent(f"a worker needs a DVC remote: {error}") from None
        self._fs: Any = remote.fs
        self._there = self._fs.join(remote.path, FOLDER, stage)

    def bring(self) -> None:
        """Copy what is in the remote to this machine."""
        for file in self._remote_files():
            local = self.here / file
            local.parent.mkdir(parents=True, exist_ok=True)
            self._fs.get_file(self._fs.join(self._there, *file.parts), str(local))

    def whole(self) -> set[PurePosixPath]:
        """Folders of the checkpoints that are whole in the remote, relative to the stage's."""
        return {f.parent for f in self._remote_files() if f.name == STATE}

    def remove(self) -> None:
        """Remove them from the remote: the training has finished."""
        if self._fs.exists(self._there):
            self._fs.rm(self._there, recursive=True)

    @contextmanager
    def kept_up(self) -> Iterator[None]:
        """Copy every new checkpoint to the remote, and remove older ones there, until the block ends."""

        def look() -> None:
            with suppress(OSError):  # a folder that the training has just removed; the next look comes
                self._copy_new()

        with repeated(look, LOOK_SECONDS):
            yield

    def _copy_new(self) -> None:
        there = self.whole()
        here = [p.parent.relative_to(self.here) for p in self.here.glob(f"*/checkpoint-*/{STATE}")]
        for folder in (f for f in here if PurePosixPath(f.as_posix()) not in there):
            target = self._fs.join(self._there, *folder.parts)
            self._fs.makedirs(target, exist_ok=True)
            files = sorted((self.here / folder).iterdir(), key=lambda p: p.name == STATE)
            for file in files:  # STATE last
                self._fs.put_file(str(file), self._fs.join(target, file.name))
        if here:
            for gone in there - {PurePosixPath(f.as_posix()) for f in here}:
                self._fs.rm(self._fs.join(self._there, *gone.parts), recursive=True)

    def _remote_files(self) -> list[PurePosixPath]:
        """Files in the remote, relative to the stage's folder; none whose name would lead out of it."""
        if not self._fs.exists(self._there):
            return []
        found = [PurePosixPath(self._fs.relpath(f, self._there)) for f in self._fs.find(self._there)]
        return [f for f in found if not f.is_absolute() and ".." not in f.parts]
