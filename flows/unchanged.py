"""DVC's answer that nothing has changed, remembered for as long as no file that it rests on has been touched.

To ask DVC takes a second. So an answer is kept with what the system says of each of those files (its number, size, and the
times of its content and of what is known of it, as in git's index): where all of it is the same, DVC would say the same.
A file that was touched, or is there or gone, even with the same content, has DVC asked again.
"""

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from flows import leftovers
from governance.digest import read_json, write_json
from tasks import paths

DECLARING = ("dvc.yaml", "dvc.lock", "params.yaml", ".dvc/config", ".dvc/config.local")
COARSE_SECONDS = 2.0  # the clock of some file systems: what was written since may have changed again unseen


@dataclass(frozen=True)
class Seen:
    """What DVC's answer rests on, as it was before DVC looked."""

    roots: list[str]
    digest: str
    newest: float  # seconds since 1970
    at: float

    def settled(self) -> bool:
        """Whether a later change of any of the files would show in its times."""
        return self.newest + COARSE_SECONDS < self.at


def holds() -> bool:
    """Whether DVC would say again that nothing has changed."""
    kept = read_json(_file())
    return bool(kept) and kept == _kept(_seen(kept["roots"]))


def look() -> Seen | None:
    """What DVC is about to look at; None where its times would not tell of every change."""
    roots = set(DECLARING)
    for entry in leftovers.locked(Path()).values():
        roots |= {thing["path"] for kind in ("deps", "outs") for thing in entry.get(kind, ())}
    roots |= {str(folder / ".dvcignore") for root in roots for folder in Path(root).parents}
    return _seen(sorted(roots))


def keep(seen: Seen | None) -> None:
    """Remember that DVC found nothing changed after this was seen."""
    if seen and seen.settled():
        write_json(_file(), _kept(seen))


def _file() -> Path:
    return paths.home() / "unchanged.json"


def _kept(seen: Seen | None) -> dict[str, object]:
    return {"dvc": version("dvc"), "roots": seen.roots, "digest": seen.digest} if seen else {}


def _seen(roots: list[str]) -> Seen | None:
    """None if a link to a folder is among them, behind which nobody looks, or what is no file of this machine."""
    at, newest, told = time.time(), 0.0, hashlib.sha256()
    for file in (f for root in roots for f in _under(Path(root))):
        try:
            found = file.stat()
        except FileNotFoundError:
            told.update(f"{file}\0gone\n".encode())
            continue
        if stat.S_ISDIR(found.st_mode):
            return None
        newest = max(newest, found.st_mtime, found.st_ctime)
        told.update(f"{file}\0{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}\n".encode())
    return Seen(roots, told.hexdigest(), newest, at)


def _under(root: Path) -> Iterator[Path]:
    """A file, or all files in a folder; links to folders are among them."""
    if not root.is_dir() or root.is_symlink():
        yield root
        return
    for folder, inner, files in os.walk(root):
        inner.sort()
        yield from (Path(folder, name) for name in sorted(files))
        yield from (link for name in inner if (link := Path(folder, name)).is_symlink())
