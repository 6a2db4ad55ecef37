"""What `retention.yaml` says, acted on: data whose time is over are deleted with every version that was made from them, or
put on record for a person to review.

Which versions came of a source is read from the audit log (the runs that read it) and from the copies of `dvc.lock` in
their records. What another run made without the source stays, models stay (a person decides on training anew), and so
do the records, which hold no rows.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows import artifacts, exclusive, git_history, removal, sealing, worktrees
from flows.processing import sources
from governance import descent, retention
from governance.digest import canonical_json, sha256_bytes, sha256_path
from governance.entry import Event
from governance.erasure import Removal
from governance.retention import Retention
from tasks import paths
from tasks.lineage import read_record
from tasks.review_store import ReviewStore

DELETED = "deleted"
LOCK = Path("dvc.lock")
MODELS = paths.MODELS.as_posix() + "/"


@dataclass
class History:
    """What the audit log knows, in one reading: by run the sources that it read, its MLflow runs and its policy; what was
    done before, by source and date."""

    read: dict[str, set[str]] = field(default_factory=dict)
    mlflow: dict[str, set[str]] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)
    done: dict[tuple[str, str], str] = field(default_factory=dict)


def history() -> History:
    """Read the log."""
    found = History()
    for e in sealing.ledger().entries():
        if e.type in (Event.STAGE_MADE, Event.STAGE_CACHED):
            found.mlflow.setdefault(e.run_id, set()).add(str(e.data.get("mlflow_run_id")))
            found.read.setdefault(e.run_id, set()).update(descent.read_by([e], "ingest"))
            if policy := e.subject_digests.get(paths.POLICY.as_posix()):
                found.policies[e.run_id] = policy
        elif e.type in (Event.RETENTION_DELETED, Event.RETENTION_REVIEW):
            found.done[e.data["source"], e.data["retain_until"]] = e.type
    return found


def states(known: History, *, gone: bool = False) -> list[dict[str, Any]]:
    """Every source that params.yaml names or a run ever read, with what is declared and how it stands today; those whose
    files are gone without being due only if `gone`."""
    today = datetime.now(UTC).date()
    rows = []
    for source, declared in _declared(known).items():
        row = declared.as_dict(today)
        deleted = known.done.get((source, str(declared.retain_until))) == Event.RETENTION_DELETED
        if not Path(source).exists():
            if not (deleted or gone or declared.expired(today)):
                continue
            row["state"] = DELETED if deleted else row["state"]
        rows.append(row)
    return rows


def act(actor: str, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Do what is declared for everything that is due; gives the log entries' data. Killed, it goes on when it is run again.

    Raises MissingComponent while a run is under way.
    """
    done = []
    with exclusive.alone(removal.BUSY):
        worktrees.take_over()  # or a killed run's would keep copies
        known = history()
        for row in states(known):
            begun = removal.journal("deleting", row["source"]).is_file()
            if row["state"] != "due" and not begun:
                continue
            if begun or row["action"] == "delete":
                done.append(_delete(row, known, actor, say))
            elif (row["source"], row["retain_until"]) not in known.done:
                data = {k: row[k] for k in ("source", "retain_until")}
                sealing.ledger().append(Event.RETENTION_REVIEW, run_id="", actor=actor, subject_digests={}, data=data)
                say(f"{row['source']}: waits for a person since {row['retain_until']}; no run reads it meanwhile.")
                done.append(data)
        sealing.seal(actor)
    return done


def _declared(known: History) -> dict[str, Retention]:
    """What is declared of each source, by source; of one whose declaration is gone, what the latest run recorded."""
    recorded: dict[str, Retention] = {}
    for folder in sorted((paths.home() / "records").glob("*")):
        recorded |= retention.recorded(folder)
    ever = {name for names in known.read.values() for name in names}
    every = dict.fromkeys([s.as_posix() for s in sources()] + sorted(ever))
    return {name: retention.current(Path(name), recorded) for name in every}


def _delete(row: dict[str, Any], known: History, actor: str, say: Callable[[str], None]) -> dict[str, Any]:
    source = Path(row["source"])
    journal = removal.journal("deleting", row["source"])
    found = Removal.load(journal, row["source"])
    own = _own_files(source)
    _look(found, own, known)
    found.save(journal)
    removal.carry_out(found, say)
    if (queue := paths.review_queue()).is_file():
        ReviewStore(queue).forget_items(found.runs)
    digests = {name: digest for name, digest in found.files.items() if Path(name).is_relative_to(source)}
    digests["removed"] = sha256_bytes(canonical_json(found.files))
    commits = git_history.of_file(source)
    entry = removal.record(
        found, Event.RETENTION_DELETED, actor, digests, source=row["source"], retain_until=row["retain_until"],
        objects=len(found.objects), in_git=bool(commits), commits=commits,
    )  # fmt: skip
    journal.unlink()
    say(f"{source}: deleted with {len(found.files)} files and {len(found.objects)} versions in the cache and remotes.")
    if commits:
        say(f"→ git still has {source} (commits {', '.join(commits)}): its owner must decide on that")
    for run, policy in found.models.items():
        say(f"  trained on it: policy {policy[:12]} of run {run}; whether it is trained anew is for a person to decide")
    return entry.data


def _own_files(source: Path) -> list[Path]:
    """Files of the source itself; what is declared beside them stays."""
    if source.is_file():
        return [source]
    return [p for p in sorted(source.rglob("*")) if p.is_file() and p.name != retention.DECLARED_IN]


def _look(found: Removal, own: list[Path], known: History) -> None:
    """Add to what is known everything that is still there of the source and of what was made from it."""
    readers = [run for run, read in known.read.items() if found.subject in read]
    others = [run for run in known.read if run not in readers]
    records = paths.home() / "records"
    locks = [records / run / LOCK for run in readers]
    here = found.subject in read_record("ingest").get("inputs", {})
    with _Cache() as cache:
        kept = {oid for run in others for outs in cache.outs(records / run / LOCK).values() for oid in outs}
        wanted = {
            oid for lock in [*locks, *([LOCK] if here else [])] for outs in cache.outs(lock).values() for oid in outs
        }
        gone = wanted - kept
        files = [*own, *(p for oid in sorted(gone) if (p := cache.file(oid)).is_file())]
        if here:
            files += _workspace(cache, gone, kept)
    state = paths.home()
    stages = {i for run in readers for i in known.mlflow[run]} - {i for run in others for i in known.mlflow[run]}
    folders = [state / "artifacts" / i for i in stages] + [state / "evaluations" / run for run in readers]
    files += [p for folder in folders for p in sorted(folder.rglob("*")) if p.is_file()]
    if readers:
        files += sorted(state.glob("responses.sqlite*"))  # a cache of answers to prompts: made anew
    found.artifacts = sorted({*found.artifacts, *artifacts.of_runs(stages)})
    for file in files:
        found.files.setdefault(file.as_posix(), sha256_path(file))
    found.objects = sorted({*found.objects, *gone})
    found.runs = sorted({*found.runs, *readers})
    found.models |= {run: known.policies[run] for run in readers if run in known.policies}


def _workspace(cache: "_Cache", gone: set[str], kept: set[str]) -> Iterator[Path]:
    """Files of the outputs that lie in the workspace now, but for those that another run made as well."""
    for path, outs in cache.outs(LOCK).items():
        if not gone & outs.keys():
            continue
        stays = {name for oid, name in outs.items() if oid in kept}
        every = [Path(path)] if Path(path).is_file() else sorted(Path(path).rglob("*"))
        yield from (p for p in every if p.is_file() and p.relative_to(path).as_posix() not in stays)


class _Cache:
    """DVC's cache and remotes, as far as a removal asks them: which objects a lock file names, and where they are."""

    def __enter__(self) -> "_Cache":
        from dvc.repo import Repo

        self._repo = Repo()
        self._remotes = [self._repo.cloud.get_remote_odb(name) for name in self._repo.config["remote"]]
        self._listings: dict[str, dict[str, str]] = {}
        return self

    def __exit__(self, *_: object) -> None:
        self._repo.close()

    def outs(self, lock: Path) -> dict[str, dict[str, str]]:
        """Objects of every output that is no model, by its path: {object: name below the path}. None without a lock."""
        import yaml

        if not lock.is_file():
            return {}
        stages = yaml.safe_load(lock.read_text(encoding="utf-8")).get("stages", {})
        outs = [out for stage in stages.values() for out in stage.get("outs", [])]
        return {o["path"]: self._objects(o["md5"]) for o in outs if not o["path"].startswith(MODELS)}

    def file(self, oid: str) -> Path:
        """Where an object lies in the cache, if it does; as the erasure of a person names it."""
        path = Path(self._repo.cache.local.oid_to_path(oid))
        return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path

    def _objects(self, oid: str) -> dict[str, str]:
        if oid not in self._listings:
            names = {oid: "."}
            if oid.endswith(".dir"):
                names |= {row["md5"]: row["relpath"] for row in self._listing(oid)}
            self._listings[oid] = names
        return self._listings[oid]

    def _listing(self, oid: str) -> list[dict[str, str]]:
        """Files of a folder, from the cache or a remote that has it."""
        for odb in (self._repo.cache.local, *self._remotes):
            if odb.exists(oid):
                rows: list[dict[str, str]] = json.loads(odb.fs.cat_file(odb.oid_to_path(oid)))
                return rows
        return []
