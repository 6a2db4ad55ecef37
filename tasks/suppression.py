"""People whose rows were erased: `ingest` leaves them out, whatever a vendor's file still holds.

The list has pseudonyms alone. It stays on this machine, with mode 0600, in `.attestrl/privacy/erased.json`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from governance.digest import write_json
from tasks import paths

if TYPE_CHECKING:
    import polars as pl


def _file() -> Path:
    return paths.home() / "privacy" / "erased.json"


def erased() -> frozenset[str]:
    """Pseudonyms of everybody who was erased in this project."""
    file = _file()
    return frozenset(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else frozenset()


def suppress(pseudonym: str) -> None:
    """Add one person; nothing happens if they are on the list."""
    _file().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_json(_file(), sorted(erased() | {pseudonym}))
    _file().chmod(0o600)


def without(frame: pl.DataFrame, column: str, people: frozenset[str]) -> pl.DataFrame:
    """The rows that are by none of `people`; a row without a person stays."""
    if not people or column not in frame.columns:
        return frame
    return frame.filter(~frame[column].is_in(list(people)).fill_null(False))
