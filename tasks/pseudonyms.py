"""Pseudonyms of people: HMAC-SHA256 under a key that stays on this machine.

The same person has the same pseudonym in every dataset of a project; without the key nobody can find the person by
trying names. Ids that begin with `sim-` belong to simulated annotators and stay as they are.
"""

import hashlib
import hmac
import os
import re
import secrets

import polars as pl

from tasks import paths

SIMULATED = "sim-"
PSEUDONYM = re.compile(r"p-[0-9a-f]{12}")  # of a person who is not simulated


def key() -> bytes:
    """The project's key, made on first use with mode 0600."""
    file = paths.home() / "keys" / "pseudonyms.key"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:  # another process was first
            return file.read_bytes()
        with os.fdopen(descriptor, "wb") as f:
            f.write(secrets.token_bytes(32))
    return file.read_bytes()


def pseudonymise(frame: pl.DataFrame, column: str, key_bytes: bytes) -> pl.DataFrame:
    """Replace the ids in `column`; null stays null."""
    ids = frame[column].unique().drop_nulls().to_list()
    return frame.with_columns(pl.col(column).replace({i: pseudonym(i, key_bytes) for i in ids}))


def pseudonym(identifier: str, key_bytes: bytes) -> str:
    """Pseudonym of one person."""
    if identifier.startswith(SIMULATED):
        return identifier
    return "p-" + hmac.new(key_bytes, identifier.encode(), hashlib.sha256).hexdigest()[:12]
