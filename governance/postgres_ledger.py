"""The audit log in PostgreSQL, for several machines: the same lines, the same verification.

A table holds each line's bytes by position. A writer takes an advisory lock for its transaction, so that writers take
turns; what is reported as written was committed with `synchronous_commit`. Changed, missing or moved lines are found
as in a file: nothing of the table but the lines in the order of their positions is believed. Whoever used the server before
waits while it is restarted.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from governance.errors import BadInput, MissingComponent
from governance.ledger import Append, Appender, Log

if TYPE_CHECKING:
    from psycopg2.extensions import connection

_LOCK = int.from_bytes(b"attestrl")  # a number for pg_advisory_xact_lock that other programs hardly take
_TABLE = """
CREATE TABLE IF NOT EXISTS attestrl_ledger (
    position bigint PRIMARY KEY CHECK (position >= 0),
    line bytea NOT NULL
)
"""
_AT_ONCE = 2000
RESTART_SECONDS = 120.0  # that a server which answered before may be away
POLL_SECONDS = 0.5
_answered: set[str] = set()  # servers that this process has reached


class PostgresLedger(Log):
    """The log in the database at `url` (postgresql://…). The table is made by the first append."""

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def batch(self) -> Iterator[Append]:
        """See `Log.batch`: one transaction, committed when the block ends; nothing is kept of a block that raises."""
        from psycopg2.extras import execute_values

        with self._connection() as database, database.cursor() as cursor:
            cursor.execute("SET LOCAL synchronous_commit = on")
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            if not _has_table(
                cursor
            ):  # who may only add to a table that is there may not ask for it to be made, either
                cursor.execute(_TABLE)
            cursor.execute("SELECT line FROM attestrl_ledger ORDER BY position DESC LIMIT 1")
            found = cursor.fetchone()
            waiting: list[tuple[int, bytes]] = []
            yield Appender(
                bytes(found[0]) if found else b"",
                lambda line, position: waiting.append((position, line)),
                "the ledger in PostgreSQL",
            )
            insert = "INSERT INTO attestrl_ledger (position, line) VALUES %s"
            execute_values(cursor, insert, waiting, page_size=_AT_ONCE)

    def take_over(self, lines: Iterable[bytes]) -> int:
        """Put the lines of another log into this one, which has none yet, as they are; gives their number. Raises
        BadInput if there are any."""
        from psycopg2.extras import execute_values

        with self._connection() as database, database.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            if not _has_table(cursor):
                cursor.execute(_TABLE)
            cursor.execute("SELECT EXISTS (SELECT FROM attestrl_ledger)")
            if cursor.fetchone() == (True,):
                raise BadInput("the ledger in PostgreSQL (ATTESTRL_LEDGER_URL) holds entries; name an empty one.")
            numbered = list(enumerate(lines))
            execute_values(
                cursor, "INSERT INTO attestrl_ledger (position, line) VALUES %s", numbered, page_size=_AT_ONCE
            )
            return len(numbered)

    def lines(self, after: int = 0) -> Iterator[bytes]:
        """See `Log.lines`: one snapshot, read in pieces."""
        with self._connection() as database:
            with database.cursor() as cursor:
                if not _has_table(cursor):
                    return
            with database.cursor(name="lines") as stream:
                stream.itersize = _AT_ONCE
                stream.execute("SELECT line FROM attestrl_ledger ORDER BY position OFFSET %s", (after,))
                for (line,) in stream:
                    yield bytes(line)

    @contextmanager
    def _connection(self) -> Iterator["connection"]:
        """A transaction of its own. Raises MissingComponent if the server cannot be reached or refuses."""
        try:
            import psycopg2
        except ImportError:
            raise MissingComponent("the ledger in PostgreSQL needs psycopg2; pip install psycopg2-binary.") from None
        database: Any = None
        try:
            database = self._connect()
            with database:
                yield database
        except psycopg2.Error as error:
            said = str(error).strip().splitlines() or ["it did not say why"]
            raise MissingComponent(f"the ledger in PostgreSQL (ATTESTRL_LEDGER_URL): {said[0]}") from None
        finally:
            if database is not None:
                database.close()

    def _connect(self) -> "connection":
        """A connection. A server that answered this process before is waited for: it is being restarted."""
        import psycopg2

        deadline = time.monotonic() + (RESTART_SECONDS if self.url in _answered else 0)
        said = False
        while True:
            try:
                database = psycopg2.connect(self.url, connect_timeout=10)
            except psycopg2.OperationalError:
                if time.monotonic() >= deadline:
                    raise
                if not said:
                    logging.getLogger(__name__).warning(
                        "attestrl: the ledger in PostgreSQL does not answer; waiting for it."
                    )
                said = True
                time.sleep(POLL_SECONDS)
            else:
                _answered.add(self.url)
                return database


def _has_table(cursor: Any) -> bool:
    cursor.execute("SELECT to_regclass('attestrl_ledger')")
    return bool(cursor.fetchone() != (None,))
