"""Erase one person: from the workspace, every version in the DVC cache and remotes, and the state folder."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from flows import processing, sealing
from governance.digest import sha256_bytes, sha256_path
from governance.erasure import Erasure, concerned, holders
from governance.errors import BadInput, MissingComponent
from governance.ledger import Event
from governance.records import list_runs
from tasks import paths, pseudonyms, suppression

PSEUDONYM = re.compile(r"p-[0-9a-f]{12}")
CACHE = Path(".dvc/cache")
# The audit log and the records of runs hold digests and sentences, no rows; the list of the erased must name them.
KEPT = ("ledger.jsonl", "records", "privacy", "checkpoints", "keys")


def erase(annotator: str, actor: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Remove every file that holds the person's rows, and record it. Run again after a kill, it goes on.

    Raises BadInput if nothing here names the person, MissingComponent while a run is under way.
    """
    pseudonym = annotator if PSEUDONYM.fullmatch(annotator) else pseudonyms.pseudonym(annotator, pseudonyms.key())
    paths.home().mkdir(parents=True, exist_ok=True)
    lock = FileLock(paths.home() / "run.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise MissingComponent("a run is under way in this project; wait until it ends, then erase.") from None
    with lock:
        journal = paths.home() / "privacy" / f"erasing-{sha256_bytes(pseudonym.encode())[:12]}.json"
        found = Erasure.load(journal, pseudonym)
        _look(found)
        if not found.files:
            raise BadInput("nobody of that name has rows here: neither a table, nor a cached version, nor a report.")
        suppression.suppress(pseudonym)
        found.save(journal)
        for name in found.files:
            Path(name).unlink(missing_ok=True)
        _empty_remotes(found, say)
        document = _record(found, actor)
        journal.unlink()
    document["raw_files"] = _raw_files(annotator)
    return document


def _look(found: Erasure) -> None:
    """Add to what is known the files that are still there."""
    state = [p for p in paths.home().iterdir() if p.is_dir() and p.name not in KEPT]
    for file, rows in holders([Path("data/interim"), paths.PROCESSED, paths.REPORTS, CACHE, *state], found.pseudonym):
        if file.as_posix() in found.files:
            continue  # known from before a kill
        found.files[file.as_posix()] = sha256_path(file)
        found.rows += rows
        if file.is_relative_to(CACHE):
            found.objects.append(file.parent.name + file.name)
    if found.files:
        found.runs, found.models = concerned(list_runs(paths.home()), found.files.values())


def _empty_remotes(found: Erasure, say: Callable[[str], None]) -> None:
    """Remove the same objects from every remote that DVC knows. What a remote alone holds is not looked into."""
    from dvc.repo import Repo

    with Repo() as repo:
        for name in repo.config["remote"]:
            odb = repo.cloud.get_remote_odb(name)
            removed = 0
            for oid in set(found.objects):
                if odb.exists(oid):
                    odb.fs.remove(odb.oid_to_path(oid))
                    removed += 1
            say(f"remote {name}: {removed} objects removed.")


def _record(found: Erasure, actor: str) -> dict[str, Any]:
    """Append the erasure to the audit log, which names no person, and give its document."""
    digests = {f"removed {n}": d for n, d in enumerate(sorted(set(found.files.values())))}
    data = {
        "files": len(found.files),
        "rows": found.rows,
        "runs": found.runs,
        "policies": found.models,
        "retraining": "due: a person decides whether these policies are trained anew" if found.models else "none",
    }
    entry = sealing.ledger().append(Event.ERASED, run_id="", actor=actor, subject_digests=digests, data=data)
    sealing.seal(actor)
    return {"erasure": entry.entry_hash[:12], **data}


def _raw_files(annotator: str) -> list[str]:
    """Raw inputs that still name the person, where the name itself was given: their owner must edit them."""
    if PSEUDONYM.fullmatch(annotator):
        return []
    folders = {source if source.is_dir() else source.parent for source in processing.sources()}
    return sorted(file.as_posix() for file, _ in holders(folders, annotator))
