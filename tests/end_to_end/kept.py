"""Projects that take minutes to make are kept in `.pytest_cache` for later tests, as long as no file of ours changes."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from governance.digest import sha256_path

ROOT = Path(__file__).resolve().parents[2]


def files() -> list[str]:
    """Tracked and new files of the project."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return sorted(name for name in set(listed.stdout.decode().split("\0")) if (ROOT / name).is_file())


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """Folder in which `make` has worked, now or in an earlier test of the same files and the same Python: copy it."""
    state = hashlib.sha256(sys.version.encode())
    for file in files():
        state.update(f"{file}\0{sha256_path(ROOT / file)}\0".encode())
    folder = ROOT / ".pytest_cache/projects" / f"{name}-{state.hexdigest()[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f"{name}.lock"):
        if not (folder / "made").is_file():
            for earlier in folder.parent.glob(f"{name}-*"):
                shutil.rmtree(earlier)
            folder.mkdir()
            make(folder)
            (folder / "made").touch()
    return folder
