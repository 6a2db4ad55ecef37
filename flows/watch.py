"""What has changed in the world since the pipeline last looked, as causes of a run.

Each finder compares what is there now with what the last run read, as records and ledger tell it; without an earlier run
there is nothing to compare with, and the first run is a person's or a schedule's. Nothing here starts anything.
"""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flows import project, rounds, schedules
from flows.elsewhere import call_dvc
from governance import causes
from governance.causes import Cause
from governance.digest import read_json, sha256_path, write_atomic
from governance.entry import Event
from governance.errors import AttestError, MissingComponent
from governance.history import Readable
from tasks import params, paths, pseudonyms, suppression
from tasks.lineage import read_record

HUB_LOOKS = 30  # of so many looks one asks the hub


class Watcher:
    """Looks again and again; what costs time is done only where a file's size or time of change is another."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._known: dict[str, tuple[Any, Any]] = {}
        self._looks = 0

    def due(self, history: Readable) -> list[Cause]:
        """Causes for which no run has started yet. What keeps a finder from looking is said, and keeps no other."""
        settings = params.load(paths.PARAMS)
        wanted = settings.triggers
        finders: list[tuple[bool, Callable[[], Iterator[Cause]]]] = [
            (wanted.data, lambda: _data(settings, history)),
            (wanted.votes is not None, lambda: self._votes(settings)),
            (wanted.labels, _labels),
            (wanted.incidents, lambda: _since_the_last_run(history, Event.INCIDENT_CLOSED, "incident", "incident_id")),
            (wanted.drift, lambda: _since_the_last_run(history, Event.ALARM, "drift", "alarm_id")),
            (wanted.base, lambda: self._base(settings)),
        ]
        found = schedules.owed(history)
        for on, finder in finders:
            try:
                found += list(finder()) if on else []
            except (AttestError, OSError) as error:
                self._say(str(error))
        self._looks += 1
        answered = causes.answered(history)
        return [c for c in found if c.digest not in answered]

    def _votes(self, settings: params.Params) -> Iterator[Cause]:
        """More votes than the last run read, beyond a number or a share of them."""
        limits, source = settings.triggers.votes, settings.ingest.votes
        table = read_record("ingest").get("notes", {}).get("tables", {}).get("votes", {})
        if limits is None or source is None or table.get("source") != source or not Path(source).exists():
            return
        now, digest = self._once(source, lambda: (_count_votes(source), sha256_path(Path(source))))
        before = table["rows"] - table.get("of_rounds", 0)
        new = now - before
        if new >= limits.number or (new > 0 and new >= limits.share * before):
            yield Cause("votes", {"path": source, "sha256": digest}, {"new": new, "before": before})

    def _base(self, settings: params.Params) -> Iterator[Cause]:
        """Another base model in the folder, or on the hub's branch, than the last run took."""
        model = settings.base.model
        if Path(model).is_dir():
            before = read_record("base").get("inputs", {}).get(model)
            now = self._once(model, lambda: sha256_path(Path(model)))
            if before and now != before:
                yield Cause("base", {"model": model, "sha256": now}, {"before": before})
            return
        taken = _taken_revision(model)
        if taken and self._looks % HUB_LOOKS == 0:
            now = _hub_commit(model, settings.triggers.base_branch)
            if now != taken:
                yield Cause("base", {"model": model, "revision": now}, {"before": taken})

    def _once(self, source: str, measure: Callable[[], Any]) -> Any:
        """What `measure` gave for this file or folder; measured again when it was touched."""
        path = Path(source)
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        touched = [(p.as_posix(), p.stat().st_mtime_ns, p.stat().st_size) for p in files]
        if source not in self._known or self._known[source][0] != touched:
            self._known[source] = (touched, measure())
        return self._known[source][1]


def versions(settings: params.Params) -> dict[str, str]:
    """MD5 of every input that DVC tracks, by the file that names it."""
    return {str(p): _md5(p.read_text(encoding="utf-8"), p) for p in _pointers(settings)}


def bring(cause: Cause) -> None:
    """Make what the cause speaks of the input of the run that begins: the data version, the base's revision."""
    if cause.kind == "data":
        pointer = Path(cause.identity["path"])
        if text := _upstream(pointer):
            write_atomic(pointer, text)
        call_dvc("pull", str(pointer))
    elif cause.kind == "base" and "revision" in cause.identity:
        project.set_params(None, [f"base.revision={cause.identity['revision']}"])


def _data(settings: params.Params, history: Readable) -> Iterator[Cause]:
    """A version of an input that was pushed to the DVC remote, and is not the one that the last run had."""
    pointers = _pointers(settings)
    before: dict[str, str] = {}
    if pointers:
        _git("fetch", "--quiet")
        for e in history.entries():
            if e.type == Event.CONFIGURATION:
                before = e.data.get("versions", {})
    for pointer in pointers:
        now = _md5(_upstream(pointer) or pointer.read_text(encoding="utf-8"), pointer)
        known = before.get(str(pointer))
        if known and now != known and _is_pushed(now):
            yield Cause("data", {"path": str(pointer), "md5": now}, {"before": known})


def _labels() -> Iterator[Cause]:
    """Labels of a round of the policy's answers that no run has read."""
    read = read_record("ingest").get("inputs", {})
    for file in paths.rounds() if read else ():
        if file.as_posix() not in read:
            yield Cause("labels", {"path": file.as_posix(), "sha256": sha256_path(file)})
    if (number := rounds.waiting()) is not None:
        yield Cause("labels", {"round": str(number), "answered": "review"})


def _pointers(settings: params.Params) -> list[Path]:
    """`.dvc` files of the inputs: beside the input itself, or beside a folder above it."""
    found = []
    for source in settings.ingest.sources():
        for path in (Path(source), *Path(source).parents):
            pointer = path.with_name(f"{path.name}.dvc") if path.name else None
            if pointer and pointer.is_file() and pointer not in found:
                found.append(pointer)
    return found


def _md5(text: str, pointer: Path) -> str:
    import yaml

    try:
        return str(yaml.safe_load(text)["outs"][0]["md5"])
    except (yaml.YAMLError, KeyError, IndexError, TypeError):
        raise MissingComponent(f"{pointer}: names no version; `dvc add` writes it.") from None


def _upstream(pointer: Path) -> str | None:
    """The pointer as the branch has it that this one follows; None if it follows none, or the pointer is not there."""
    return _git("show", f"@{{upstream}}:./{pointer.as_posix()}")


def _git(*arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def _is_pushed(md5: str) -> bool:
    """Whether the DVC remote holds the object. Of a folder it is the listing, which DVC pushes after all its files."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            return bool(repo.cloud.get_remote_odb(hash_name="md5").exists(md5))
    except (DvcException, ImportError) as error:  # the latter where a kind of remote wants a package
        raise MissingComponent(f"the DVC remote cannot be asked for new data: {error}") from None


def _count_votes(source: str) -> int:
    """Votes that `ingest` would read."""
    from tasks.votes import vote_chunks

    secret, gone = pseudonyms.key(), suppression.erased()
    named = (pseudonyms.pseudonymise(chunk, "annotator_id", secret) for chunk, _ in vote_chunks(source))
    return sum(suppression.without(chunk, "annotator_id", gone).height for chunk in named)


def _since_the_last_run(history: Readable, event: str, kind: str, key: str) -> Iterator[Cause]:
    """Entries of a type that no run has followed: closed incidents, whose evaluation is to be asked, and alarms."""
    found: list[Cause] = []
    for e in history.entries():
        if e.type == Event.RUN_STARTED:
            found = []
        elif e.type == event:
            found.append(Cause(kind, {key: e.data[key], "entry": e.entry_hash}))
    yield from found


def _taken_revision(model: str) -> str | None:
    """Commit on the hub of the base that the last run took; None if it took another model, or there was no run."""
    known = read_json(paths.BASE / "lineage.json")
    return known.get("revision") if known.get("source") == model else None


def _hub_commit(model: str, branch: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return str(HfApi().model_info(model, revision=branch).sha)
    except (HfHubHTTPError, OSError):
        raise MissingComponent(f"base.model: {model}: the hub cannot be asked for a new revision now.") from None
