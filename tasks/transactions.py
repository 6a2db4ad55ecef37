"""Transactions on a SQLite file that several processes use: all of one is on the disk, or nothing of it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def transaction(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection inside a transaction of its own, which waits for other writers, ends with the block, and is undone if
    the block raises."""
    with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as store:
        store.execute("PRAGMA synchronous = FULL")
        store.execute("BEGIN IMMEDIATE")
        with store:
            yield store
