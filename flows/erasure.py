"""Erase one person: from the workspace, every version in the DVC cache and remotes, and the state folder."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows import exclusive, processing, removal
from governance.digest import sha256_path
from governance.erasure import Removal, concerned, holders
from governance.errors import BadInput
from governance.ledger import Event
from governance.records import list_runs
from tasks import paths, pseudonyms, suppression
from tasks.review_store import ReviewStore

PSEUDONYM = re.compile(r"p-[0-9a-f]{12}")
CACHE = Path(".dvc/cache")
# The audit log and the records of runs hold digests and sentences, no rows; the list of the erased must name them.
KEPT = ("ledger.jsonl", "records", "privacy", "checkpoints", "keys")


def erase(annotator: str, actor: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Remove every file that holds the person's rows, and record it. Run again after a kill, it goes on; for somebody who
    is erased already there is nothing to remove, and `erasure` is None.

    Raises BadInput if nothing here names the person, MissingComponent while a run is under way.
    """
    pseudonym = annotator if PSEUDONYM.fullmatch(annotator) else pseudonyms.pseudonym(annotator, pseudonyms.key())
    with exclusive.alone(removal.BUSY):
        journal = removal.journal("erasing", pseudonym)
        found = Removal.load(journal, pseudonym)
        _look(found)
        if found.files or found.answers:
            found.save(journal)
            suppression.suppress(pseudonym)
            removal.carry_out(found, say)
            if found.answers:
                _review().forget(pseudonym)
            document = _record(found, actor)
            journal.unlink()
        elif pseudonym in suppression.erased():
            document = {"erasure": None}
        else:
            raise BadInput("nobody of that name has rows here: neither a table, nor a cached version, nor a report.")
    document["raw_files"] = _raw_files(annotator)
    return document


def _look(found: Removal) -> None:
    """Add to what is known the files that are still there."""
    state = [p for p in paths.home().iterdir() if p.is_dir() and p.name not in KEPT]
    for file, rows in holders([Path("data/interim"), paths.PROCESSED, paths.REPORTS, CACHE, *state], found.subject):
        if file.as_posix() in found.files:
            continue  # known from before a kill
        found.files[file.as_posix()] = sha256_path(file)
        found.rows += rows
        if file.is_relative_to(CACHE):
            found.objects.append(file.parent.name + file.name)
    if _review_file().is_file():
        found.answers = max(found.answers, _review().progress(found.subject)[0])
    if found.files:
        found.runs, found.models = concerned(list_runs(paths.home()), found.files.values())


def _review_file() -> Path:
    return paths.home() / "review.sqlite"


def _review() -> ReviewStore:
    return ReviewStore(_review_file())


def _record(found: Removal, actor: str) -> dict[str, Any]:
    """Append the erasure to the audit log, which names no person, and give its document."""
    digests = {f"removed {n}": d for n, d in enumerate(sorted(set(found.files.values())))}
    entry = removal.record(found, Event.ERASED, actor, digests, rows=found.rows, answers=found.answers)
    return {"erasure": entry.entry_hash[:12], **entry.data}


def _raw_files(annotator: str) -> list[str]:
    """Raw inputs that still name the person, where the name itself was given: their owner must edit them."""
    if PSEUDONYM.fullmatch(annotator):
        return []
    folders = {source if source.is_dir() else source.parent for source in processing.sources()}
    return sorted(file.as_posix() for file, _ in holders(folders, annotator))
