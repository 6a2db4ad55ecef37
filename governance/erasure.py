"""Where a person's rows lie on this machine, and the journal of their removal.

Tables name people by pseudonym. A file that holds the pseudonym is removed whole, in every version: a table without
the person is made by the next run. What stays is evidence that names no row: digests in the audit log and in bundles.
The reasons are in docs/design/001-erasure.md.
"""

import gzip
import json
import mmap
import secrets
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from governance.digest import write_json

PARQUET, GZIP = b"PAR1", b"\x1f\x8b"


@dataclass
class Removal:
    """What must go, and what that concerns: SHA-256 of each file by path, artifacts in an MLflow store elsewhere
    (run:path), rows in both, answers in the review queue, objects of the DVC cache by their digest, runs whose tables came of it, and the policies of these runs. `subject` is
    a pseudonym or a source; `token` names the removal in the audit log, so that it is recorded once."""

    subject: str
    token: str = field(default_factory=lambda: secrets.token_hex(6))
    files: dict[str, str] = field(default_factory=dict)
    artifacts: list[str] = field(default_factory=list)
    rows: int = 0
    answers: int = 0
    objects: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    models: dict[str, str] = field(default_factory=dict)

    def save(self, file: Path) -> None:
        """Write the journal, which a killed removal goes on from."""
        write_json(file, asdict(self))

    @classmethod
    def load(cls, file: Path, subject: str) -> "Removal":
        """The journal of a killed removal of this subject, or an empty one."""
        return cls(**json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else cls(subject)


def holders(folders: Iterable[Path], pseudonym: str) -> Iterator[tuple[Path, int]]:
    """Files under `folders` that hold the pseudonym, with the number of rows (lines) that do. Parquet, which compresses
    what it holds, is read by its columns, whatever the file is called (see `rows_in`)."""
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and not file.is_symlink() and (rows := rows_in(file, pseudonym)):
                yield file, rows


def concerned(runs: Iterable[dict[str, Any]], digests: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """(runs that made or used a file with one of these digests, SHA-256 of their policies by run)."""
    wanted = set(digests)
    names, models = [], {}
    for run in runs:
        outputs = {o["path"]: o["sha256"] for stage in run["stages"] for o in stage["outputs"]}
        if wanted & set(outputs.values()):
            names.append(run["run_id"])
            if "data/models/policy" in outputs:
                models[run["run_id"]] = outputs["data/models/policy"]
    return names, models


def rows_in(file: Path, text: str) -> int:
    """Rows (lines) of a file that hold a text: Parquet by its columns, gzip by what it unpacks to, others by their bytes."""
    with file.open("rb") as opened:
        head = opened.read(len(PARQUET))
    if head == PARQUET:
        return _parquet_rows(file, text)
    if head.startswith(GZIP):
        return _gzip_rows(file, text)
    if not head:
        return 0
    needle = text.encode()
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        count = at = 0
        while (at := content.find(needle, at)) >= 0:
            count += 1
            end = content.find(b"\n", at)
            at = len(content) if end < 0 else end
        return count


def _gzip_rows(file: Path, text: str) -> int:
    needle = text.encode()
    try:
        with gzip.open(file) as lines:
            return sum(needle in line for line in lines)
    except (OSError, EOFError, zlib.error):
        return 0  # begins as gzip does and is none


def _parquet_rows(file: Path, pseudonym: str) -> int:
    import polars as pl

    try:
        table = pl.scan_parquet(file)
        columns = [name for name, kind in table.collect_schema().items() if kind == pl.String]
    except pl.exceptions.PolarsError:
        return 0  # begins as Parquet does and is none
    if not columns:
        return 0
    hit = pl.any_horizontal(*(pl.col(c) == pseudonym for c in columns)).fill_null(False)
    return int(table.select(hit.sum()).collect(engine="streaming").item())
