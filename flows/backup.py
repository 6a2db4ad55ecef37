"""`attestrl backup` and `attestrl restore`: all of a project in one file, and out of it into an empty folder.

The file is a tar archive: `repository.bundle` (git, with every branch), `worktree/` (what differs from the commit, and
what neither git nor DVC has), `state/` (the state folder, with its keys: keep the file as you keep them), `cache/` (DVC's
objects), and last `manifest.json` with the SHA-256 of each. Databases are copied as SQLite itself copies them, whole.
Servers of a team are not in it: PostgreSQL has `pg_dump`; a ledger kept there is in it as a file of its lines. Neither is
a cache of DVC's outside the project, which others may share: the manifest names it, and the restored project uses it again.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import chdir, closing
from pathlib import Path, PurePosixPath
from typing import Any

from flows import exclusive, sealing, worktrees
from flows.dvc_calls import OWN_CACHE, cache
from flows.elsewhere import call_dvc
from governance.digest import sha256_path, write_json
from governance.errors import BadInput, GateRefused, MissingComponent
from governance.ledger import Ledger
from tasks import paths

SCHEMA = "attestrl/backup/1"
MANIFEST = "manifest.json"
BUSY = "a run is under way in this project; back it up when it has ended."
SQLITE = b"SQLite format 3\0"
# locks, what SQLite keeps beside an open database, and what a process leaves for the one that started it
LEFT_OUT = (".lock", "-wal", "-shm", "-journal")


def backup(target: Path) -> dict[str, Any]:
    """Write the archive, and give its manifest. Raises MissingComponent while a run is under way."""
    if target.exists():
        raise BadInput(f"--out {target}: is there already; name a file that is not.")
    partial = target.with_name(f".{target.name}.partial")
    with exclusive.alone(BUSY), tempfile.TemporaryDirectory() as scratch:
        worktrees.take_over()
        try:
            manifest = _write(partial, Path(scratch))
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        partial.rename(target)
    return manifest


def restore(source: Path, target: Path) -> dict[str, Any]:
    """Make the project of an archive in `target`, which is empty or absent, and give the manifest.

    Nothing is left there if the archive is damaged, or the ledger in it does not verify.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BadInput(f"--to {target}: is not empty; name a folder that is, or that is not there.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        unpacked, project = Path(scratch) / "archive", Path(scratch) / "project"
        manifest = _unpack(source, unpacked)
        used = _cache_of(manifest)
        if used.is_absolute() and not used.is_dir():
            raise MissingComponent(
                f"{used}: the project's DVC cache, which is outside of it and so not in the backup, is not on this "
                "machine; bring it there, then restore again."
            )
        _rebuild(unpacked, project, manifest, target.absolute())
        if target.exists():
            target.rmdir()
        project.rename(target)
    return manifest


def _write(archive: Path, scratch: Path) -> dict[str, Any]:
    digests: dict[str, str] = {}
    with open(archive, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for name, path in _members(scratch):
                digests[name] = sha256_path(path)
                tar.add(path, arcname=name, recursive=False)
            manifest = {
                "schema": SCHEMA,
                "commit": _git("rev-parse", "HEAD").strip(),
                "branch": _git("branch", "--show-current").strip(),
                "origin": _git("remote", "get-url", "origin", check=False).strip(),
                "home": str(paths.home()),
                "cache": str(cache()),
                "deleted": _listed("ls-files", "--deleted"),
                "files": digests,
            }
            write_json(scratch / MANIFEST, manifest)
            tar.add(scratch / MANIFEST, arcname=MANIFEST)
        file.flush()
        os.fsync(file.fileno())
    return manifest


def _members(scratch: Path) -> Iterator[tuple[str, Path]]:
    """Names in the archive, and the files that hold what belongs there now."""
    bundle = scratch / "repository.bundle"
    _git("bundle", "create", "--quiet", str(bundle), "--all", "HEAD")
    yield bundle.name, bundle
    for name in _listed("ls-files", "--modified") + _listed("ls-files", "--others", "--exclude-standard"):
        if Path(name).is_file():
            yield f"worktree/{name}", Path(name)
    home = paths.home()
    for path in _files(home):
        yield f"state/{path.relative_to(home).as_posix()}", _settled(path, scratch / "settled")
    if not isinstance(sealing.ledger(), Ledger):
        lines = scratch / "ledger.jsonl"
        lines.write_bytes(b"".join(sealing.ledger().lines()))
        yield "state/ledger.jsonl", lines
    own = cache()
    for path in _files(own) if not own.is_absolute() else ():
        yield f"cache/{path.relative_to(own).as_posix()}", path


def _files(folder: Path) -> list[Path]:
    found = (p for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink())
    return [p for p in found if not p.name.endswith(LEFT_OUT) and p.relative_to(folder).parts[0] != "receipts"]


def _settled(path: Path, copy: Path) -> Path:
    """The file, or if it is a database a copy at a moment when nothing in it is half written."""
    with path.open("rb") as file:
        if file.read(len(SQLITE)) != SQLITE:
            return path
    copy.unlink(missing_ok=True)
    with (
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as live,
        closing(sqlite3.connect(copy)) as whole,
    ):
        live.backup(whole)
    return copy


def _git(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it did not say why"])[-1]
        raise MissingComponent(f"git {arguments[0]}: {said}")
    return done.stdout


def _listed(*arguments: str) -> list[str]:
    return sorted({name for name in _git(*arguments, "-z").split("\0") if name})


def _unpack(source: Path, into: Path) -> dict[str, Any]:
    """Unpack the archive and compare every file with its digest. Raises BadInput if anything is other than it was."""
    if not source.exists():
        raise BadInput(f"{source}: there is no such file; correct the path.")
    try:
        with tarfile.open(source, "r:") as tar:
            if not all(m.isfile() for m in tar.getmembers()):
                raise BadInput(f"{source}: holds what is no file; it is no backup.")
            tar.extractall(into, filter="data")
        manifest: dict[str, Any] = json.loads((into / MANIFEST).read_text(encoding="utf-8"))
        digests: dict[str, str] = manifest["files"]
    except (tarfile.TarError, OSError, ValueError, KeyError, TypeError):
        raise BadInput(f"{source}: is no backup, or damaged; take another copy.") from None
    if manifest.get("schema") != SCHEMA:
        raise BadInput(f"{source}: is a backup of another version ({manifest.get('schema')}).")
    there = {p.relative_to(into).as_posix() for p in into.rglob("*") if p.is_file()} - {MANIFEST}
    wrong = sorted(there ^ digests.keys()) or [n for n, digest in digests.items() if sha256_path(into / n) != digest]
    if wrong:
        raise BadInput(f"{source}: is damaged at {wrong[0]} ({len(wrong)} files in all); take another copy.")
    return manifest


def _rebuild(unpacked: Path, project: Path, manifest: dict[str, Any], final: Path) -> None:
    """The project in `project`, as it will be in `final`."""
    _git("clone", "--quiet", "--no-checkout", str(unpacked / "repository.bundle"), str(project))
    with chdir(project):
        where = ["-B", manifest["branch"]] if manifest["branch"] else ["--detach"]
        _git("checkout", "--quiet", *where, manifest["commit"])
        _git("remote", "remove", "origin")
        if manifest["origin"]:
            _git("remote", "add", "origin", manifest["origin"])
        for name in manifest["deleted"]:
            if not _leads_out(name):
                Path(name).unlink(missing_ok=True)
    for part, place in (("worktree", project), ("state", project / ".attestrl"), ("cache", project / OWN_CACHE)):
        if (unpacked / part).is_dir():
            shutil.copytree(unpacked / part, place, dirs_exist_ok=True)
    for secret in (project / ".attestrl/keys").rglob("*"):
        secret.chmod(0o700 if secret.is_dir() else 0o600)
    _relocate(project / ".attestrl/mlflow.db", Path(manifest["home"]), final / ".attestrl")
    with chdir(project):
        if cache() != _cache_of(manifest):
            call_dvc("cache", "dir", "--local", str(_cache_of(manifest)))
        call_dvc("checkout", "--force")
        found = Ledger(project / ".attestrl/ledger.jsonl").verify()
    if not found.ok:
        raise GateRefused(f"the ledger in the backup does not verify ({found.problems[0]}); take an earlier backup.")


def _cache_of(manifest: dict[str, Any]) -> Path:
    """Of the restored project: its own, or the one outside that it used."""
    named = Path(manifest.get("cache", OWN_CACHE))
    return named if named.is_absolute() else OWN_CACHE


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts


def _relocate(database: Path, before: Path, now: Path) -> None:
    """Point MLflow's store to its artifacts where they are now: it keeps absolute addresses."""
    if not database.is_file():
        return
    with closing(sqlite3.connect(database)) as store, store:
        tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = [
                row[1] for row in store.execute(f'PRAGMA table_info("{table}")') if "CHAR" in row[2] or "TEXT" in row[2]
            ]
            for column in columns:
                old, new = before.as_uri(), now.as_uri()
                store.execute(
                    f'UPDATE "{table}" SET "{column}" = ? || substr("{column}", ?) WHERE "{column}" LIKE ? ESCAPE ?',
                    (new, len(old) + 1, _literal(old) + "/%", "\\"),
                )


def _literal(text: str) -> str:
    """`text` in a pattern of LIKE."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
