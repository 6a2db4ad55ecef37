"""What is processed, of whom and for how long: facts for the records of processing."""

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from flows import sealing
from governance import descent, retention
from governance.entry import Entry, Event
from governance.records import list_runs
from governance.template import render
from tasks import params, paths
from tasks.lineage import read_record


def sources() -> list[Path]:
    """Inputs of the pipeline that are on this machine."""
    return [Path(s) for s in params.load(paths.PARAMS).ingest.sources() if Path(s).exists()]


def expired(entries: Iterable[Entry], folder: Path) -> tuple[str, ...]:
    """In words, the data that a run read and that may not be kept any more. `entries` and `folder` are the run's."""
    today = datetime.now(UTC).date()
    read_then = map(Path, descent.read_by(entries, "ingest"))
    found = retention.expired(read_then, retention.recorded(folder), today)
    return tuple(f"{one.source} until {one.retain_until}" for one in found)


def ropa(today: date) -> str:
    """Records of processing, in Markdown."""
    tables = read_record("ingest").get("notes", {}).get("tables", {})
    pii = _pii()
    datasets = []
    for source in sources():
        names = [name for name, facts in tables.items() if facts.get("source") == source.as_posix()]
        found = {name: pii[name] for name in names if pii.get(name)}
        datasets.append(
            retention.read(source).as_dict(today)
            | {
                "people": "annotators and authors, by pseudonym; persons whom the texts mention",
                "pii": _words(found) if names else "not read yet: `attestrl run` counts it",
            }
        )
    done = Counter(e.type for e in sealing.ledger().entries())
    settings = params.load(paths.PARAMS)
    return render(
        "ropa.md.j2",
        project=settings.project,
        today=today.isoformat(),
        datasets=datasets,
        models=f"{settings.project}-reward and {settings.project}-policy",
        runs=len(list_runs(paths.home())),
        erasures=done[Event.ERASED],
        deletions=done[Event.RETENTION_DELETED],
        pii_total=_words(pii),
        missing=lambda whom: f"**Missing**: ask {whom}",
    )


def _pii() -> dict[str, dict[str, int]]:
    """Rows with personal data by table and kind, as the stage `validate` counted them."""
    file = paths.report("validate") / "pii.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def _words(found: dict[str, dict[str, int]]) -> str:
    kinds = [f"{kind} in {n} rows of {name}" for name, counts in found.items() for kind, n in counts.items() if n]
    return "; ".join(kinds) or "none was found"
