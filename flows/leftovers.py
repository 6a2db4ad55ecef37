"""What a killed run leaves on this machine outside our own records: processes that go on, files of DVC's cut short."""

import contextlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

from governance.digest import PARTIAL, write_atomic
from tasks import paths, yaml_reader

DVC_LOCK = Path("dvc.lock")
RWLOCK = Path(".dvc/tmp/rwlock")
REPOSITORY_LOCK = Path(".dvc/tmp/lock")
CACHE = Path(".dvc/cache/files/md5")
WAIT_SECONDS = 10
STARTERS = ("attestrl", "flows.cli", "prefect")  # commands that start a Prefect server


def end_leftovers() -> None:
    """Kill processes of this project whose run is gone: stages, which would write beside the next run, and Prefect's
    own server."""
    import psutil

    this = psutil.Process()
    own = {this.pid, *(p.pid for p in (*this.parents(), *this.children(recursive=True)))}
    leftover = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid not in own and _is_leftover(process):
                process.kill()
                leftover.append(process)
    psutil.wait_procs(leftover, timeout=WAIT_SECONDS)


def _is_leftover(process: Any) -> bool:
    """A stage that a run started, or a Prefect server that nobody waits for any more."""
    said, home = _environment(process), str(paths.home())
    if said.get("ATTESTRL_HOME") != home:
        return False
    if "ATTESTRL_RECEIPT" in said:
        return True
    parent = process.parent()
    # By its command: what a process puts into its environment after its start cannot be seen from outside.
    alone = parent is None or not any(word in " ".join(parent.cmdline()) for word in STARTERS)
    return alone and "prefect server start" in " ".join(process.cmdline())


def _environment(process: Any) -> dict[str, str]:
    """Environment of a process; empty if it is another user's."""
    import psutil

    try:
        found: dict[str, str] = process.environ()
    except psutil.Error:
        return {}
    return found


def locked(folder: Path) -> dict[str, Any]:
    """Entries of the stages in the `dvc.lock` of a folder; none where there is none."""
    file = folder / DVC_LOCK
    content = yaml_reader.parse(yaml_reader.read_text(file), str(file)) if file.is_file() else {}
    return {k: v for k, v in ((content or {}).get("stages") or {}).items() if k in paths.STAGES}


def keep_dvc_lock() -> None:
    """Keep a copy of `dvc.lock` after a stage: DVC writes it in place, and a kill may cut it short."""
    if DVC_LOCK.is_file():
        write_atomic(_kept(), DVC_LOCK.read_bytes())


def _kept() -> Path:
    return paths.home() / "dvc.lock"


def mend_dvc_lock() -> None:
    """Bring back the last whole `dvc.lock`: the kept copy, or the committed one."""
    if not DVC_LOCK.is_file():
        return
    kept, now = [_kept().read_bytes()] if _kept().is_file() else [], DVC_LOCK.read_bytes()
    if now in kept or _is_lock(now):
        return
    committed = subprocess.run(["git", "show", f"HEAD:{DVC_LOCK}"], capture_output=True, check=False).stdout
    for content in (*kept, committed):
        if _is_lock(content):
            write_atomic(DVC_LOCK, content)
            return
    DVC_LOCK.unlink()


def _is_lock(content: bytes) -> bool:
    """Whether DVC would read it: what was cut in the middle may be valid YAML all the same."""
    import yaml
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(content))
    except (yaml.YAMLError, Invalid):
        return False
    return True


def remove_half_written(*folders: Path) -> None:
    """Remove files in these folders that a process which is gone was writing (`governance.digest.writing`)."""
    import psutil

    for file in (f for folder in folders for f in folder.glob(f".*{PARTIAL}*")):
        writer = re.search(rf"\.(\d+)\.[^.]+{re.escape(PARTIAL)}", file.name)
        if writer and not psutil.pid_exists(int(writer[1])):
            file.unlink(missing_ok=True)


def drop_stale_rwlock() -> None:
    """Remove DVC's list of readers and writers if it is damaged, or names no process of DVC that is alive."""
    if not RWLOCK.is_file():
        return
    try:
        holders = _pids(json.loads(RWLOCK.read_text(encoding="utf-8")))
    except (ValueError, AttributeError, TypeError, KeyError):
        holders = set()
    if not any(_is_dvc(pid) for pid in holders):
        RWLOCK.unlink(missing_ok=True)


def drop_partial_objects() -> None:
    """Remove what DVC was writing into its cache, under a temporary name, when it was killed or the disk was full; nothing
    while a DVC has the repository's lock, under which it writes there."""
    left = list(CACHE.glob("*/.*.tmp"))
    if not left:
        return
    from zc.lockfile import LockError, LockFile  # type: ignore[import-untyped]  # as DVC itself

    REPOSITORY_LOCK.parent.mkdir(exist_ok=True)
    with contextlib.suppress(LockError), contextlib.closing(LockFile(str(REPOSITORY_LOCK))):
        for file in left:
            file.unlink(missing_ok=True)


def _pids(content: dict[str, dict[str, Any]]) -> set[int]:
    every = [h for held in content.values() for who in held.values() for h in (who if isinstance(who, list) else [who])]
    return {int(holder["pid"]) for holder in every}


def _is_dvc(pid: int) -> bool:
    import psutil

    try:
        return "dvc" in " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return False
