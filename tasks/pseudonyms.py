"""Pseudonyms of people: HMAC-SHA256 under a key that stays on this machine.

The same person has the same pseudonym in every dataset of a project; without the key nobody can find the person by
trying names. Ids that begin with `sim-` belong to simulated annotators and stay as they are.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING

from filelock import FileLock

from governance.digest import write_atomic
from governance.errors import BadInput
from tasks import paths

if TYPE_CHECKING:
    import polars as pl

SIMULATED = "sim-"
LENGTH = 32  # bytes of the key
PSEUDONYM = re.compile(r"p-[0-9a-f]{12}")  # of a person who is not simulated


def key() -> bytes:
    """The project's key, made on first use with mode 0600. Raises BadInput if it is damaged: under an empty one, anybody
    could find people by trying names."""
    file = paths.home() / "keys" / "pseudonyms.key"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(file.with_name("pseudonyms.lock")):
            if not file.is_file():  # no other process was first
                write_atomic(file, secrets.token_bytes(LENGTH), mode=0o600)
    content = file.read_bytes()
    if len(content) != LENGTH:
        raise BadInput(f"{file}: is not the key of {LENGTH} bytes that was made; restore it from a backup.")
    return content


def pseudonymise(frame: pl.DataFrame, column: str, key_bytes: bytes) -> pl.DataFrame:
    """Replace the ids in `column`; null stays null."""
    ids = frame[column].unique().drop_nulls().to_list()
    return frame.with_columns(frame[column].replace({i: pseudonym(i, key_bytes) for i in ids}))


def pseudonym(identifier: str, key_bytes: bytes) -> str:
    """Pseudonym of one person."""
    if identifier.startswith(SIMULATED):
        return identifier
    return "p-" + hmac.new(key_bytes, identifier.encode(), hashlib.sha256).hexdigest()[:12]
