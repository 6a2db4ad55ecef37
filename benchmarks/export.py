"""A year of daily runs exported: python -m benchmarks.export PROJECT [days]; prints one JSON line.

PROJECT is a folder in which `attestrl run` ended at least once. Each day gets a copy of its latest run under an id of its
own, its entries, and a checkpoint signed by a copy of the project's keys, which signed the run's models as well; then all
bundles are written, as `attestrl evidence export all` does, and the first and the last are verified. Target: 365 days in
less than a minute, in memory that does not grow with the days.
"""

import argparse
import json
import resource
import shutil
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from benchmarks.machine import described
from governance import bundle
from governance.digest import sha256_path, write_atomic
from governance.entry import Entry
from governance.keys import Keyring
from governance.ledger import Ledger
from governance.notary import Notary
from governance.places import Folder
from governance.records import ENDS, files_of
from governance.verify_bundle import verify


def measure(state: Path, days: int) -> dict[str, Any]:
    """Figures for the latest run of the project whose `.attestrl` is `state`."""
    run = max(folder for folder in (state / "records").iterdir() if folder.is_dir())
    entries = list(Ledger(state / "ledger.jsonl").entries(run.name))
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        ledger = Ledger(home / "ledger.jsonl")
        shutil.copytree(state / "keys", home / "keys", ignore=shutil.ignore_patterns("last-checkpoint.json"))
        notary = Notary(ledger, Folder(home / "checkpoints"), Keyring(home / "keys"))
        folders = [_day(home / "records", run, entries, notary, n) for n in range(days)]
        before = resource.getrusage(resource.RUSAGE_SELF)
        started, cpu = time.perf_counter(), time.process_time()
        size = 0
        for folder, data in bundle.export(folders, notary, "benchmark"):
            write_atomic(home / "out" / f"{folder.name}.zip", data)
            size += len(data)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before.ru_maxrss
        for folder in (folders[0], folders[-1]):
            reasons, _ = verify(str(home / "out" / f"{folder.name}.zip"))
            assert not reasons, reasons
        return {
            "benchmark": "export",
            "days": days,
            "entries": sum(1 for _ in ledger.lines()),
            "files_a_bundle": len(files_of(run)),
            "mb": round(size / 1e6, 1),
            "export_s": round(seconds, 1),
            "export_cpu_s": round(cpu, 1),
            "memory_grown_mb": round(grown / 1024, 1),
            **described(),
        }


def _day(records: Path, run: Path, entries: list[Entry], notary: Notary, number: int) -> Path:
    """The run once more, on another day."""
    day = date(2026, 1, 1) + timedelta(days=number)
    folder = records / f"{day:%Y%m%d}T030000Z-{number:08x}"
    shutil.copytree(run, folder)
    record = json.loads((folder / "run.json").read_text(encoding="utf-8")) | {"run_id": folder.name}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    with notary.ledger.batch() as add:
        for e in entries:
            digests = e.subject_digests
            if e.type in ENDS:
                digests = {p.relative_to(folder).as_posix(): sha256_path(p) for p in files_of(folder)}
            add(e.type, run_id=folder.name, actor=e.actor, subject_digests=digests, data=e.data)
    notary.seal("benchmark")
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("days", type=int, nargs="?", default=365)
    given = parser.parse_args()
    print(json.dumps(measure(given.project / ".attestrl", given.days)))
