"""The audit log under crashes, concurrency and tampering. Every tampering test changes the file itself."""

import hashlib
import json
import multiprocessing
import os
import stat
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.digest import canonical_json
from governance.entry import GENESIS, Entry, Event, hash_of
from governance.errors import BadInput
from governance.ledger import MAX_PROBLEMS, Ledger


def add(ledger: Ledger, n: int = 1, run_id: str = "run-1", **data: Any) -> list[Entry]:
    digests = {"data/models/sft": "ab" * 32}
    fields = {"loss": 0.25, "epoch": 1, "note": 'née |  \\ "x"', **data}
    return [
        ledger.append(Event.STAGE_MADE, run_id=run_id, actor="user:a", subject_digests=digests, data={**fields, "i": i})
        for i in range(n)
    ]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(tmp_path / "ledger.jsonl")
    add(made, 6)
    return made


def lines(ledger: Ledger) -> list[bytes]:
    return ledger.path.read_bytes().splitlines(keepends=True)


def test_an_entry_has_these_fields_and_the_hash_of_its_content(ledger: Ledger) -> None:
    fields = json.loads(lines(ledger)[2])
    assert sorted(fields) == sorted(
        ["seq", "prev_hash", "ts", "type", "run_id", "actor", "subject_digests", "data", "entry_hash"]
    )
    assert fields["seq"] == 2
    assert fields["prev_hash"] == json.loads(lines(ledger)[1])["entry_hash"]
    assert json.loads(lines(ledger)[0])["prev_hash"] == GENESIS
    without = {k: v for k, v in fields.items() if k != "entry_hash"}
    assert fields["entry_hash"] == hashlib.sha256(canonical_json(without)).hexdigest()


def test_append_gives_back_what_entries_reads(ledger: Ledger) -> None:
    other = add(ledger, 2, run_id="run-2")
    assert list(ledger.entries("run-2")) == other
    assert [e.seq for e in ledger.entries()] == list(range(8))
    assert ledger.verify().ok
    assert ledger.verify().entries == 8


def test_a_ledger_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "absent" / "ledger.jsonl")
    assert list(ledger.entries()) == []
    assert ledger.verify().entries == 0
    assert not ledger.path.parent.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1}, Path("x"), {1: "key"}, 2**60])
def test_what_is_not_json_is_refused_and_leaves_the_file_as_it_was(ledger: Ledger, value: Any) -> None:
    before = ledger.path.read_bytes()
    with pytest.raises(ValueError):
        add(ledger, value=value)
    assert ledger.path.read_bytes() == before


def edited(change: Callable[[dict[str, Any]], None], *, rehash: bool) -> Callable[[list[bytes]], list[bytes]]:
    def tamper(ls: list[bytes]) -> list[bytes]:
        fields = json.loads(ls[2])
        change(fields)
        if rehash:
            fields["entry_hash"] = hash_of(fields)
        return [*ls[:2], canonical_json(fields) + b"\n", *ls[3:]]

    return tamper


def inserted(ls: list[bytes]) -> list[bytes]:
    """An entry that is right in itself and follows the one before it."""
    fields = json.loads(ls[2]) | {"seq": 3, "prev_hash": json.loads(ls[2])["entry_hash"], "actor": "user:mallory"}
    fields["entry_hash"] = hash_of(fields)
    return [*ls[:3], canonical_json(fields) + b"\n", *ls[3:]]


def raw(old: bytes, new: bytes) -> Callable[[list[bytes]], list[bytes]]:
    def tamper(ls: list[bytes]) -> list[bytes]:
        assert old in ls[2]
        return [*ls[:2], ls[2].replace(old, new, 1), *ls[3:]]

    return tamper


TAMPERINGS = {
    "edited": (edited(lambda f: f.update(actor="user:b"), rehash=False), "line 3: was edited"),
    "edited and hashed again": (edited(lambda f: f.update(actor="user:b"), rehash=True), "line 4: does not follow"),
    "hash replaced": (edited(lambda f: f.update(entry_hash="0" * 64), rehash=False), "line 3: was edited"),
    "deleted": (lambda ls: ls[:2] + ls[3:], "line 3: has seq 3 where 2 belongs: an entry was deleted"),
    "first deleted": (lambda ls: ls[1:], "line 1: has seq 1 where 0 belongs: an entry was deleted"),
    "swapped": (lambda ls: [*ls[:2], ls[3], ls[2], *ls[4:]], "line 4: has seq 2 where 4 belongs"),
    "repeated": (lambda ls: [*ls[:3], ls[2], *ls[3:]], "line 4: has seq 2 where 3 belongs: an entry was inserted"),
    "inserted": (inserted, "line 5: has seq 3 where 4 belongs: an entry was inserted"),
    "cut off": (lambda ls: [*ls[:5], ls[5][:40]], "line 6: is cut off"),
    "not JSON": (lambda ls: [*ls[:2], b"{]\n", *ls[3:]], "line 3: is not JSON"),
    "blank line": (lambda ls: [*ls[:2], b"\n", *ls[2:]], "line 3: is not JSON"),
    "not an object": (lambda ls: [*ls[:2], b"[]\n", *ls[3:]], "line 3: has not exactly the fields"),
    "extra field": (edited(lambda f: f.update(more=1), rehash=True), "line 3: has not exactly the fields"),
    "wrong type": (edited(lambda f: f.update(seq="2"), rehash=True), "line 3: has a field of the wrong type"),
    "other spacing": (raw(b'"seq":2', b'"seq": 2'), "line 3: was edited: it is not written as it was hashed"),
    "key twice": (raw(b'"seq":2', b'"seq":9,"seq":2'), "line 3: was edited: it is not written as it was hashed"),
    "NaN": (raw(b"0.25", b"NaN"), "line 3: was edited: it holds a value that no entry can hold"),
    "infinity": (raw(b"0.25", b"1e999"), "line 3: was edited: it holds a value that no entry can hold"),
    "long number": (raw(b"0.25", b"9" * 30), "line 3: was edited: it holds a value that no entry can hold"),
    "lone surrogate": (raw(b"0.25", b'"\\ud800"'), "line 3: was edited: it holds a value that no entry can hold"),
    "deep nesting": (raw(b"0.25", b"[" * 99_999 + b"]" * 99_999), "line 3: is not JSON"),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_named_with_its_line(ledger: Ledger, name: str) -> None:
    tamper, sentence = TAMPERINGS[name]
    ledger.path.write_bytes(b"".join(tamper(lines(ledger))))
    found = ledger.verify()
    assert not found.ok
    assert any(problem.startswith(sentence) for problem in found.problems), found.problems


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    made = Ledger(tmp_path_factory.mktemp("whole") / "ledger.jsonl")
    add(made, 4)
    return made


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_no_changed_byte_goes_unnoticed(whole: Ledger, data: st.DataObject) -> None:
    content = whole.path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != content[at]))
    copy = whole.path.with_name("copy.jsonl")
    copy.write_bytes(content[:at] + bytes([byte]) + content[at + 1 :])
    assert not Ledger(copy).verify().ok


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_removed_or_added_byte_goes_unnoticed(whole: Ledger, data: st.DataObject) -> None:
    content = whole.path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    put = data.draw(st.one_of(st.none(), st.integers(0, 255)))
    changed = content[:at] + (content[at + 1 :] if put is None else bytes([put]) + content[at:])
    copy = whole.path.with_name("copy.jsonl")
    copy.write_bytes(changed)
    assert Ledger(copy).verify().ok == (changed == content)


@pytest.mark.parametrize("kept", [1, 40, -1])
def test_a_line_cut_by_a_crash_is_recovered_and_recorded(ledger: Ledger, kept: int) -> None:
    written = lines(ledger)
    partial = written[-1][:kept]
    ledger.path.write_bytes(b"".join(written[:-1]) + partial)
    assert not ledger.verify().ok
    entry = add(ledger)[0]
    recovered = list(ledger.entries())[-2]
    assert recovered.type == Event.RECOVERED
    assert recovered.data == {"bytes_cut": len(partial)}
    assert recovered.subject_digests == {"bytes cut": hashlib.sha256(partial).hexdigest()}
    assert (recovered.seq, entry.seq) == (5, 6)
    assert ledger.verify().ok


def test_a_first_line_cut_by_a_crash_is_recovered(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.path.write_bytes(b'{"actor":"us')
    add(ledger)
    assert [e.type for e in ledger.entries()] == [Event.RECOVERED, Event.STAGE_MADE]
    assert ledger.verify().ok


def test_nothing_is_added_to_a_log_whose_last_line_is_no_entry(ledger: Ledger) -> None:
    ledger.path.write_bytes(b"".join(lines(ledger)) + b"not an entry\n")
    before = ledger.path.read_bytes()
    with pytest.raises(BadInput, match="last line is not JSON"):
        add(ledger)
    assert ledger.path.read_bytes() == before


def test_an_entry_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    add(ledger, text="x" * 200_000)
    add(ledger)
    assert [e.seq for e in ledger.entries()] == [0, 1]
    assert ledger.verify().ok


def test_a_copy_that_cannot_be_locked_is_verified(ledger: Ledger) -> None:
    lock = ledger.path.with_name("ledger.jsonl.lock")
    lock.unlink()
    lock.mkdir()  # what opening a lock file meets on a read-only medium: an OSError
    assert Ledger(ledger.path).verify().ok


def append_many(path: Path, n: int) -> None:
    add(Ledger(path), n)


def test_processes_that_append_at_once_make_one_chain(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_many, args=(ledger.path, 50)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    found = ledger.verify()
    assert found.ok, found.problems
    assert found.entries == 100


def test_a_line_that_is_being_written_is_not_taken_for_a_cut_one(ledger: Ledger) -> None:
    *before, last = lines(ledger)
    half_written = threading.Event()

    def write_slowly() -> None:
        with FileLock(ledger.path.with_name("ledger.jsonl.lock")):
            ledger.path.write_bytes(b"".join(before) + last[:50])
            half_written.set()
            time.sleep(0.3)
            with ledger.path.open("ab") as file:
                file.write(last[50:])

    writer = threading.Thread(target=write_slowly)
    writer.start()
    assert half_written.wait(10)
    assert ledger.verify().problems == []
    writer.join()


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    def peak(entries: int) -> int:
        ledger = Ledger(tmp_path / f"{entries}.jsonl")
        add(ledger, entries)
        tracemalloc.start()
        assert ledger.verify().entries == entries
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(10)  # what is imported and cached at first
    assert peak(500) < peak(50) + 50_000


def test_problems_of_a_broken_log_are_bounded(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.path.write_bytes(b"x\n" * (MAX_PROBLEMS + 50))
    found = ledger.verify()
    assert not found.ok
    assert len(found.problems) == MAX_PROBLEMS
    assert found.entries == MAX_PROBLEMS + 50


def test_the_name_of_a_new_log_is_on_the_disk_when_its_first_entry_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    made = Ledger(tmp_path / "ledger.jsonl")
    add(made)
    assert synced == [True, False]
    add(made)
    assert synced == [True, False, False]
