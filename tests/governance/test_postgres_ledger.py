"""The audit log in a real PostgreSQL server: same bytes, same verification, several writers."""

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from governance.entry import GENESIS, Entry, Event
from governance.errors import BadInput, MissingComponent
from governance.keys import Keyring
from governance.ledger import Ledger, Log
from governance.notary import Notary
from governance.places import Folder
from governance.postgres_ledger import PostgresLedger
from tests.servers import Postgres, free_port, postgres

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of a server that runs for these tests alone."""
    with postgres() as found:
        yield found.url("postgres")


@pytest.fixture
def own_server() -> Iterator[Postgres]:
    """A server that a test may stop."""
    with postgres() as found:
        yield found


def sql(url: str, *statements: str) -> None:
    import psycopg2

    database = psycopg2.connect(url)
    with database, database.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    database.close()


def add(ledger: Log, n: int, **data: Any) -> list[Entry]:
    with ledger.batch() as append:
        return [
            append(Event.STAGE_MADE, run_id=f"r{i % 2}", actor="user:é", subject_digests={"x": "ab" * 32}, data=data)
            for i in range(n)
        ]


@pytest.fixture
def ledger(server: str) -> PostgresLedger:
    sql(server, "DROP TABLE IF EXISTS attestrl_ledger")
    made = PostgresLedger(server)
    add(made, 6)
    return made


def test_an_empty_database_is_an_empty_log(server: str) -> None:
    sql(server, "DROP TABLE IF EXISTS attestrl_ledger")
    assert PostgresLedger(server).verify().entries == 0
    assert list(PostgresLedger(server).entries()) == []


def test_the_bytes_are_those_of_a_file(ledger: PostgresLedger, tmp_path: Path) -> None:
    copy = Ledger(tmp_path / "ledger.jsonl")
    copy.path.write_bytes(b"".join(ledger.lines()))
    assert copy.verify().ok
    assert list(copy.entries()) == list(ledger.entries())
    assert list(ledger.lines(4)) == list(copy.lines(4)) == list(copy.lines())[4:]
    assert [e.seq for e in ledger.entries("r1")] == [1, 3, 5]
    assert next(ledger.entries()).prev_hash == GENESIS


def test_a_block_that_raises_leaves_nothing(ledger: PostgresLedger) -> None:
    with pytest.raises(ValueError), ledger.batch() as append:
        append(Event.STAGE_MADE, run_id="r", actor="a", subject_digests={}, data={})
        append(Event.STAGE_MADE, run_id="r", actor="a", subject_digests={}, data={"x": float("nan")})
    found = ledger.verify()
    assert (found.ok, found.entries) == (True, 6)


def append_many(url: str, n: int) -> None:
    for _ in range(n):
        add(PostgresLedger(url), 1)


def test_processes_that_append_at_once_make_one_chain(server: str) -> None:
    sql(server, "DROP TABLE IF EXISTS attestrl_ledger")
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_many, args=(server, 20)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    found = PostgresLedger(server).verify()
    assert (found.ok, found.entries) == (True, 60), found.problems


TAMPERINGS: dict[str, tuple[list[str], str]] = {
    "edited": (
        ["UPDATE attestrl_ledger SET line = overlay(line placing 'X'::bytea from 12) WHERE position = 2"],
        "line 3",
    ),
    "deleted": (["DELETE FROM attestrl_ledger WHERE position = 2"], "an entry was deleted"),
    "swapped": (
        [
            "UPDATE attestrl_ledger SET position = 100 WHERE position = 2",
            "UPDATE attestrl_ledger SET position = 2 WHERE position = 3",
            "UPDATE attestrl_ledger SET position = 3 WHERE position = 100",
        ],
        "the chain is broken",
    ),
    "cut": (["DELETE FROM attestrl_ledger WHERE position > 3"], "are gone that checkpoint"),
    "emptied": (["DELETE FROM attestrl_ledger"], "the log is gone"),
    "dropped": (["DROP TABLE attestrl_ledger"], "the log is gone"),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_what_is_done_to_the_table_is_named(ledger: PostgresLedger, tmp_path: Path, name: str) -> None:
    notary = Notary(ledger, Folder(tmp_path / "checkpoints"), Keyring(tmp_path / "keys", environment={}))
    notary.seal("user:a")
    assert notary.verify().ok
    statements, sentence = TAMPERINGS[name]
    sql(ledger.url, *statements)
    found = notary.verify()
    assert not found.ok
    assert any(sentence in p for p in found.problems), found.problems


def test_nothing_is_added_to_a_log_whose_last_line_is_no_entry(ledger: PostgresLedger) -> None:
    sql(ledger.url, r"INSERT INTO attestrl_ledger VALUES (6, 'nonsense\012'::bytea)")
    with pytest.raises(BadInput, match="last line is not JSON"):
        add(ledger, 1)


@pytest.mark.parametrize("call", [lambda g: g.verify(), lambda g: add(g, 1)])
def test_a_server_that_is_down_is_one_sentence(call: Callable[[Log], object]) -> None:
    pytest.importorskip("psycopg2")
    started = time.monotonic()
    with pytest.raises(MissingComponent, match="ATTESTRL_LEDGER_URL") as error:
        call(PostgresLedger("postgresql://attestrl:secret@127.0.0.1:1/postgres"))
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
    assert time.monotonic() - started < 30


def test_a_server_that_is_restarted_is_waited_for(own_server: Postgres, caplog: pytest.LogCaptureFixture) -> None:
    log = PostgresLedger(own_server.url("postgres"))
    add(log, 3)
    own_server.control("-m", "fast", "stop")
    start = threading.Timer(2, own_server.control, ("-o", own_server.options, "start"))
    start.start()
    add(log, 2)
    start.join()
    found = log.verify()
    assert (found.ok, found.entries) == (True, 5)
    assert caplog.text.count("does not answer; waiting for it") == 1


def test_a_server_that_never_answered_is_not_waited_for() -> None:
    began = time.monotonic()
    with pytest.raises(MissingComponent):
        list(PostgresLedger(f"postgresql://x:y@127.0.0.1:{free_port()}/z").lines())
    assert time.monotonic() - began < 5


def test_the_lines_of_another_log_are_taken_over_as_they_are(
    ledger: PostgresLedger, server: str, tmp_path: Path
) -> None:
    file = Ledger(tmp_path / "ledger.jsonl")
    add(file, 5)
    with pytest.raises(BadInput, match="holds entries"):
        ledger.take_over(file.lines())
    sql(server, "DROP TABLE attestrl_ledger")
    assert ledger.take_over(file.lines()) == 5
    assert list(ledger.lines()) == list(file.lines())
    add(ledger, 1)
    assert ledger.verify().entries == 6
