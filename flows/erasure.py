"""Erase one person: from the workspace, every version in the DVC cache and remotes, the state folder, an MLflow store
elsewhere. What git has of the person is named, and the erasure is incomplete until its owner rewrote it.

`.attestrl/privacy/incomplete.json` holds the pseudonyms of those whose rows git still had, with the token of the entry
that says so: the audit log names nobody, and gets another entry when git has them no more.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows import artifacts, dvc_calls, exclusive, git_history, processing, removal, worktrees
from governance.digest import read_json, sha256_path, write_json
from governance.entry import Event
from governance.erasure import Removal, concerned, holders
from governance.errors import BadInput
from governance.records import list_runs
from tasks import paths, pseudonyms, suppression
from tasks.pseudonyms import PSEUDONYM
from tasks.review_store import ReviewStore

# The audit log and the records of runs hold digests and sentences, no rows; the list of the erased must name them.
KEPT = ("ledger.jsonl", "records", "privacy", "checkpoints", "keys")


def erase(annotator: str, actor: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Remove every file that holds the person's rows, and record it. Run again after a kill, it goes on; for somebody who
    is erased already there is nothing to remove, and `erasure` is None. `git` names commits that still have the rows:
    `complete` is False while there are any.

    Raises BadInput if nothing here names the person, MissingComponent while a run is under way.
    """
    pseudonym = annotator if PSEUDONYM.fullmatch(annotator) else pseudonyms.pseudonym(annotator, pseudonyms.key())
    with exclusive.alone(removal.BUSY):
        worktrees.take_over()  # or a killed run's would keep copies
        journal = removal.journal("erasing", pseudonym)
        found = Removal.load(journal, pseudonym)
        _look(found)
        identifier = None if PSEUDONYM.fullmatch(annotator) else annotator
        commits = git_history.holding(pseudonym, identifier, [s.as_posix() for s in processing.sources()])
        known = pseudonym in suppression.erased() and not journal.is_file()
        if found.files or found.artifacts or found.answers or (commits and not known):
            found.save(journal)
            suppression.suppress(pseudonym)
            removal.carry_out(found, say)
            if found.answers:
                _review().forget(pseudonym)
            document = _record(found, actor, commits)
            journal.unlink()
        elif known:
            document = {"erasure": _completed(pseudonym, actor) if not commits else None}
        else:
            raise BadInput("nobody of that name has rows here: neither a table, nor a cached version, nor a report.")
    return document | {"complete": not commits, "git": commits, "raw_files": _raw_files(annotator)}


def _look(found: Removal) -> None:
    """Add to what is known the files that are still there."""
    state, cache = [p for p in paths.home().iterdir() if p.is_dir() and p.name not in KEPT], dvc_calls.cache()
    for file, rows in holders([Path("data/interim"), paths.PROCESSED, paths.REPORTS, cache, *state], found.subject):
        if file.as_posix() in found.files:
            continue  # known from before a kill
        found.files[file.as_posix()] = sha256_path(file)
        found.rows += rows
        if file.is_relative_to(cache):
            found.objects.append(file.parent.name + file.name)
    digests = list(found.files.values())
    for name, digest, rows in artifacts.holders(found.subject):
        digests.append(digest)
        if name not in found.artifacts:
            found.artifacts.append(name)
            found.rows += rows
    if paths.review_queue().is_file():
        found.answers = max(found.answers, _review().progress(found.subject)[0])
    if digests:
        found.runs, found.models = concerned(list_runs(paths.home()), digests)


def _review() -> ReviewStore:
    return ReviewStore(paths.review_queue())


def _record(found: Removal, actor: str, commits: list[str]) -> dict[str, Any]:
    """Append the erasure to the audit log, which names no person, and give its document."""
    if commits:
        _write_incomplete(_incomplete() | {found.subject: found.token})
    digests = {f"removed {n}": d for n, d in enumerate(sorted(set(found.files.values())))}
    named = sorted({git_history.commit_of(place) for place in commits})  # a path might name the person
    entry = removal.record(
        found, Event.ERASED, actor, digests, rows=found.rows, answers=found.answers, complete=not commits, git=named
    )
    return {"erasure": entry.entry_hash[:12], **entry.data}


def _completed(pseudonym: str, actor: str) -> str | None:
    """Record that git has a person no more whose erasure was incomplete; gives the entry, None where it was complete."""
    waiting = _incomplete()
    if pseudonym not in waiting:
        return None
    found = Removal(pseudonym, f"{waiting[pseudonym]}-completed")
    entry = removal.record(
        found, Event.ERASED, actor, {}, rows=0, answers=0, complete=True, git=[], completes=waiting.pop(pseudonym)
    )
    _write_incomplete(waiting)
    return entry.entry_hash[:12]


def _incomplete() -> dict[str, str]:
    return read_json(paths.home() / "privacy" / "incomplete.json")


def _write_incomplete(waiting: dict[str, str]) -> None:
    file = paths.home() / "privacy" / "incomplete.json"
    write_json(file, waiting)
    file.chmod(0o600)


def _raw_files(annotator: str) -> list[str]:
    """Raw inputs that still name the person, where the name itself was given: their owner must edit them."""
    if PSEUDONYM.fullmatch(annotator):
        return []
    folders = {source if source.is_dir() else source.parent for source in processing.sources()}
    return sorted(file.as_posix() for file, _ in holders(folders, annotator))
