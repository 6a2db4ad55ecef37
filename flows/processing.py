"""What is processed, of whom and for how long: facts for the records of processing."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from flows import sealing
from governance import descent, retention
from governance.digest import read_json
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
    """Records of processing, in Markdown: of every source that params.yaml names or a run ever read."""
    from flows import retention as kept

    tables = read_record("ingest").get("notes", {}).get("tables", {})
    pii, known = _pii(), kept.history()
    rows = kept.states(known, gone=True)  # what was made from a file that is gone is still held
    read, latest = set().union(*known.read.values()), read_record("ingest").get("inputs", {})
    held = [r | _held(r["source"], tables, pii, r["source"] in latest, r["source"] in read) for r in rows]
    done = Counter(e.type for e in sealing.ledger().entries())
    settings = params.load(paths.PARAMS)
    return render(
        "ropa.md.j2",
        project=settings.project,
        today=today.isoformat(),
        datasets=held,
        models=f"{settings.project}-reward and {settings.project}-policy",
        scope=_scope(tables),
        purposes=_joined(r["purpose"] for r in rows),
        kept_until=_joined(f"{r['source']} {r['retain_until']}" for r in rows if r["retain_until"]),
        attributes=", ".join(_attributes()) or "nothing",
        runs=len(list_runs(paths.home())),
        erasures=done[Event.ERASED],
        deletions=done[Event.RETENTION_DELETED],
        incidents=done[Event.INCIDENT_OPENED],
        pii_total=_words(pii),
        missing=lambda whom: f"**Missing**: ask {whom}",
    )


def _held(
    source: str, tables: dict[str, Any], pii: dict[str, dict[str, int]], latest: bool, ever: bool
) -> dict[str, str]:
    """Of whom a source holds data, and which, by what the latest run read of it; `ever`: an earlier one did."""
    names = [name for name, facts in tables.items() if facts.get("source") == source]
    people, data = [], []
    for name in names:
        columns = tables[name]["columns"].keys()
        for column, who in (("annotator_id", "annotators"), ("author_id", "authors")):
            if column in columns and (n := _persons(tables[name]["path"], column)):
                people.append(f"{n} {who} of {name}, by pseudonym")
        if "choice" in columns:
            data.append(f"what each annotator of {name} chose, with times and confidence where the file has them")
        elif columns & {"prompt", "messages"}:
            people.append(f"persons whom the texts of {name} mention")
            data.append(f"texts of {name}; found in them by pattern: {_words({name: pii.get(name, {})})}")
    if latest and not names:  # the file that describes annotators is no table of its own
        people.append("annotators, by pseudonym")
        data.append(f"what the vendor says of annotators: {', '.join(_attributes()) or 'nothing'}")
    unread = "not read by the latest run, but by earlier ones" if ever else "not read yet"
    nobody = "none" if names else unread
    return {"people": "; ".join(people) or nobody, "personal": "; ".join(data) or nobody}


def _persons(table: str, column: str) -> int:
    """People whom a table names, but for simulated ones."""
    import polars as pl

    if not Path(table).is_file():
        return 0
    rows = pl.scan_parquet(table)
    if "simulated" in rows.collect_schema():
        rows = rows.filter(~pl.col("simulated"))
    return int(rows.select(pl.col(column).drop_nulls().n_unique()).collect().item())


def _attributes() -> list[str]:
    """What is read of annotators beside their votes."""
    import polars as pl

    people = pl.read_parquet(paths.PEOPLE) if paths.PEOPLE.is_file() else pl.DataFrame()
    return [c for c in people.columns if c != "annotator_id"] if people.height else []


def _scope(tables: dict[str, Any]) -> str:
    return ", ".join(f"{facts['rows']} rows of {name}" for name, facts in tables.items()) or "nothing was read yet"


def _joined(texts: Iterable[str | None]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))


def _pii() -> dict[str, dict[str, int]]:
    """Rows with personal data by table and kind, as the stage `validate` counted them."""
    return read_json(paths.report("validate") / "pii.json")


def _words(found: dict[str, dict[str, int]]) -> str:
    kinds = [f"{kind} in {n} rows of {name}" for name, counts in found.items() for kind, n in counts.items() if n]
    return "; ".join(kinds) or "none was found"
