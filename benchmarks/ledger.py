"""Speed and memory of the audit log: python -m benchmarks.ledger [entries]; prints one JSON line.

Entries like those of a stage are appended in batches of 10,000 with one fsync each, then the log is verified against
its chain and its checkpoints. Targets: 10,000 entries appended in 1 s and verified in 0.5 s; memory that does not grow.
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import described
from governance.entry import Event
from governance.keys import Keyring
from governance.ledger import Ledger
from governance.notary import Notary
from governance.places import Folder

BATCH = 10_000


def measure(entries: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ledger = Ledger(folder / "ledger.jsonl")
        notary = Notary(ledger, Folder(folder / "checkpoints"), Keyring(folder / "keys"))
        append, append_cpu = _timed(lambda: _append(ledger, entries))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seal, seal_cpu = _timed(lambda: notary.seal("benchmark"))
        verify, verify_cpu = _timed(lambda: _verify(notary, entries + 1))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        return {
            "entries": entries,
            "append_s": append,
            "append_cpu_s": append_cpu,
            "seal_s": seal,
            "seal_cpu_s": seal_cpu,
            "verify_s": verify,
            "verify_cpu_s": verify_cpu,
            "verify_memory_grown_mb": round(grown / 1024, 1),
            "log_mb": round(ledger.path.stat().st_size / 1e6, 1),
        }


def _append(ledger: Ledger, entries: int) -> None:
    digests = {"data/models/sft": "ab" * 32, "input:data/processed/sft.parquet": "cd" * 32}
    data = {"stage": "sft", "mlflow_run_id": "ef" * 16, "message": "", "loss": 0.25}
    for start in range(0, entries, BATCH):
        with ledger.batch() as add:
            for _ in range(min(BATCH, entries - start)):
                add(Event.STAGE_MADE, run_id="benchmark", actor="benchmark", subject_digests=digests, data=data)


def _verify(notary: Notary, entries: int) -> None:
    found = notary.verify()
    assert found.ok and found.covered == found.entries == entries, found


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return round(time.perf_counter() - wall, 3), round(time.process_time() - cpu, 3)


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else BATCH) | described()))
