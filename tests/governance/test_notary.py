"""Checkpoints: everything that can be done to a log or to them is found, and named."""

import json
import shutil
import stat
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from governance import checkpoint, dsse
from governance.entry import Event
from governance.errors import BadInput, GateRefused
from governance.ledger import Ledger
from governance.notary import Notary
from tests.governance.conftest import notary_of
from tests.governance.signed_logs import add, files, forge, lines, rechain, says


def test_a_whole_log_verifies_and_uncovered_entries_are_named(notary: Notary) -> None:
    found = notary.verify()
    assert found.ok, found.problems
    assert (found.entries, found.covered) == (18, 16)
    assert found.notices == [
        "line 17 to 18: under no signature yet, so that whoever can write the log could have changed it; the next "
        "checkpoint covers it"
    ]
    assert [int(f.name[:12]) for f in files(notary)] == [6, 11, 16]


def test_a_checkpoint_says_what_the_log_was(notary: Notary) -> None:
    stored, problems = checkpoint.load(notary.place)
    assert problems == []
    last = stored[-1].checkpoint
    entries = [json.loads(line) for line in lines(notary)]
    assert last.log_id == entries[0]["entry_hash"]
    assert last.head == entries[15]["entry_hash"]
    assert last.previous == stored[-2].digest


def test_a_second_seal_without_new_entries_signs_nothing(notary: Notary) -> None:
    notary.seal("user:a")
    before = files(notary)
    notary.seal("user:a")
    assert files(notary) == before


def test_a_clock_that_goes_back_changes_no_order(notary: Notary, monkeypatch: pytest.MonkeyPatch) -> None:
    class AnHourAgo(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) - timedelta(hours=1)

    monkeypatch.setattr("governance.entry.datetime", AnHourAgo)
    monkeypatch.setattr("governance.checkpoint.datetime", AnHourAgo)
    add(notary.ledger, 3)
    notary.seal("user:a")
    entries = list(notary.ledger.entries())
    assert [e.seq for e in entries] == list(range(len(entries)))
    assert entries[-1].ts < entries[0].ts
    found = notary.verify()
    assert found.ok, found.problems
    assert found.covered == found.entries


def test_the_key_is_for_its_owner_alone_and_its_making_is_in_the_log(notary: Notary) -> None:
    (pem,) = notary.keyring.folder.glob("signing-*.pem")
    assert stat.S_IMODE(pem.stat().st_mode) == 0o600
    assert stat.S_IMODE(notary.keyring.folder.stat().st_mode) == 0o700
    (made,) = [e for e in notary.ledger.entries() if e.type == Event.KEY_MADE]
    active = notary.keyring.active()
    assert active is not None and made.subject_digests == {"key": active.keyid}
    pem.chmod(0o644)
    with pytest.raises(BadInput, match="chmod 600"):
        notary.seal("user:a")


def edit(ls: list[bytes]) -> list[bytes]:
    return [*ls[:3], ls[3].replace(b"user:a", b"user:b"), *ls[4:]]


def rewritten(ls: list[bytes]) -> list[bytes]:
    entries = [json.loads(line) for line in ls]
    entries[3]["actor"] = "user:b"
    return rechain(entries).splitlines(keepends=True)


LOGS: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "edited": (edit, "line 4: was edited"),
    "deleted": (lambda ls: ls[:3] + ls[4:], "an entry was deleted"),
    "swapped": (lambda ls: [*ls[:3], ls[4], ls[3], *ls[5:]], "the chain is broken"),
    "duplicated": (lambda ls: [*ls[:4], *ls[3:]], "an entry was inserted, repeated"),
    "truncated": (lambda ls: ls[:13], "line 14: 3 entries at the end are gone that checkpoint 000000000016"),
    "re-chained": (rewritten, "line 1 to 6: not what checkpoint 000000000006"),
    "re-chained after a deletion": (lambda ls: rechain([json.loads(x) for x in ls[:-1]][1:]).splitlines(True), "anew"),
    "emptied": (lambda ls: [], "the log is gone"),
}


@pytest.mark.parametrize("name", LOGS)
def test_a_changed_log_is_named(notary: Notary, name: str) -> None:
    change, sentence = LOGS[name]
    notary.ledger.path.write_bytes(b"".join(change(lines(notary))))
    says(notary, sentence)
    with pytest.raises(GateRefused, match="no checkpoint is signed: the ledger does not verify"):
        notary.seal("user:a")


def test_a_log_chained_anew_after_the_first_checkpoint_is_named_from_there(notary: Notary) -> None:
    entries = [json.loads(line) for line in lines(notary)]
    entries[8]["actor"] = "user:b"
    notary.ledger.path.write_bytes(rechain(entries))
    assert notary.ledger.verify().ok
    says(notary, "line 7 to 11: not what checkpoint 000000000011", "written anew without the key")


def test_a_deleted_log_is_named(notary: Notary) -> None:
    notary.ledger.path.unlink()
    says(notary, "the log is gone")
    shutil.rmtree(files(notary)[0].parent)
    says(notary, "was signed here and is gone; so are all others")


def test_an_older_checkpoint_in_place_of_a_newer_one_is_named(notary: Notary) -> None:
    first, _, last = files(notary)
    last.write_bytes(first.read_bytes())
    says(notary, "replayed in its place")


def test_an_older_log_with_its_older_checkpoints_is_named(notary: Notary) -> None:
    _, _, last = files(notary)
    last.unlink()
    notary.ledger.path.write_bytes(b"".join(lines(notary)[:11]))
    says(notary, f"checkpoint {last.name}: was signed here and is gone; an older one was replayed in its place")


def test_a_missing_checkpoint_is_named(notary: Notary) -> None:
    first, second, last = files(notary)
    second.unlink()
    says(notary, f"checkpoint {last.name}: names another one before it: one is gone between {first.name} and it")


def test_a_file_that_is_no_checkpoint_is_named(notary: Notary) -> None:
    files(notary)[0].with_name("notes.txt").write_text("hello")
    says(notary, "checkpoint notes.txt: was edited: it is not a signed checkpoint")


def test_a_checkpoint_by_another_key_is_named(notary: Notary) -> None:
    stored, _ = checkpoint.load(notary.place)
    name = forge(notary, 18, generate_private_key(SECP256R1()), stored[-1].digest)
    says(notary, f"checkpoint {name}: is signed by a wrong key")


def test_a_signature_under_the_id_of_the_right_key_is_named(notary: Notary) -> None:
    stored, _ = checkpoint.load(notary.place)
    other = dsse.sign(checkpoint.PAYLOAD_TYPE, stored[-1].envelope.payload, generate_private_key(SECP256R1()))
    files(notary)[-1].unlink()
    forged = dsse.Envelope(other.payload_type, other.payload, stored[-1].keyid, other.signature)
    name = checkpoint.store(notary.place, stored[-1].checkpoint, forged).name
    says(notary, f"checkpoint {name}: was edited or forged: its signature is not that of key")


def test_a_fork_is_named(notary: Notary) -> None:
    """Two checkpoints by the right key that follow the same one: the log's owner showed two logs."""
    stored, _ = checkpoint.load(notary.place)
    name = forge(notary, 17, notary.keyring.private(), stored[1].digest)
    says(notary, f"checkpoint {name}: is a fork: it and {stored[2].name} claim the same place")


def test_nothing_is_signed_of_an_empty_log(tmp_path: Path) -> None:
    notary = notary_of(Ledger(tmp_path / "ledger.jsonl"))
    assert notary.seal("user:a") is None
    assert notary.verify().ok
    assert not (tmp_path / "ledger.jsonl").exists()
