"""What checkpoints show and the chain cannot: every test changes the files themselves."""

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from governance import checkpoint, dsse
from governance.checkpoint import Checkpoint, Folder
from governance.digest import canonical_json
from governance.errors import BadInput, GateRefused, MissingComponent
from governance.keys import VARIABLE, Keyring
from governance.ledger import Event, Ledger, hash_of
from governance.notary import Notary
from tests.governance.conftest import notary_of


def add(ledger: Ledger, n: int) -> None:
    with ledger.batch() as append:
        for i in range(n):
            append(Event.STAGE_MADE, run_id=f"r{i}", actor="user:a", subject_digests={"x": "ab" * 32}, data={"i": i})


@pytest.fixture
def notary(tmp_path: Path) -> Notary:
    """Three checkpoints, and two entries after the last of them. The first seal adds an entry about its key."""
    made = notary_of(Ledger(tmp_path / "ledger.jsonl"))
    for _ in range(3):
        add(made.ledger, 5)
        made.seal("user:a")
    add(made.ledger, 2)
    return made


def files(notary: Notary) -> list[Path]:
    assert isinstance(notary.place, Folder)
    return sorted(notary.place.path.iterdir())


def lines(notary: Notary) -> list[bytes]:
    return notary.ledger.path.read_bytes().splitlines(keepends=True)


def rechain(entries: list[dict[str, Any]]) -> bytes:
    """A log that is right in itself, written by somebody who knows how but has no key."""
    out, previous = [], "0" * 64
    for seq, e in enumerate(entries):
        fields = e | {"seq": seq, "prev_hash": previous}
        fields["entry_hash"] = previous = hash_of(fields)
        out.append(canonical_json(fields) + b"\n")
    return b"".join(out)


def says(notary: Notary, *words: str) -> None:
    found = notary.verify()
    assert not found.ok
    for word in words:
        assert any(word in p for p in found.problems), (word, found.problems)


def test_a_whole_log_verifies_and_uncovered_entries_are_named(notary: Notary) -> None:
    found = notary.verify()
    assert found.ok, found.problems
    assert (found.entries, found.covered) == (18, 16)
    assert found.notices == ["line 17 to 18: not yet covered by a checkpoint; the end of the next run covers it"]
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


def forge(notary: Notary, size: int, key: EllipticCurvePrivateKey, previous: str, root: str = "0" * 64) -> str:
    head = json.loads(lines(notary)[size - 1])["entry_hash"]
    made = Checkpoint(json.loads(lines(notary)[0])["entry_hash"], size, head, root, checkpoint.now(), previous)
    envelope = dsse.sign(checkpoint.PAYLOAD_TYPE, checkpoint.payload(made), key)
    return checkpoint.store(notary.place, made, envelope).name


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


def test_after_a_rotation_both_keys_stand(notary: Notary) -> None:
    first = notary.keyring.active()
    keyid = notary.rotate("user:a", "yearly")
    found = notary.verify()
    assert found.ok, found.problems
    assert found.covered == found.entries == 19
    (entry,) = [e for e in notary.ledger.entries() if e.type == Event.KEY_ROTATED]
    assert (entry.subject_digests, entry.data) == ({"key": keyid}, {"reason": "yearly"})
    assert first is not None and notary.keyring.keys()[first.keyid].status == "retired"


def test_a_retired_key_signs_nothing_new(notary: Notary) -> None:
    old = notary.keyring.private()
    notary.rotate("user:a", "yearly")
    add(notary.ledger, 1)
    stored, _ = checkpoint.load(notary.place)
    name = forge(notary, 20, old, stored[-1].digest)
    says(notary, f"checkpoint {name}: is signed by a wrong or replaced key")


def test_a_revoked_key_counts_only_under_another_one(notary: Notary) -> None:
    stolen = notary.keyring.private()
    revoked = notary.revoke("user:a", None, "laptop lost")
    found = notary.verify()
    assert found.ok, found.problems
    assert notary.keyring.keys()[revoked].status == "revoked"
    assert [e.type for e in notary.ledger.entries()][-2:] == [Event.KEY_ROTATED, Event.KEY_REVOKED]
    add(notary.ledger, 1)
    stored, _ = checkpoint.load(notary.place)
    name = forge(notary, found.entries + 1, stolen, stored[-1].digest)
    says(notary, f"checkpoint {name}: is signed by a revoked key")
    with pytest.raises(BadInput, match="revoked already"):
        notary.revoke("user:a", revoked, "again")


def test_a_revoked_key_that_signed_last_is_named(notary: Notary) -> None:
    active = notary.keyring.active()
    assert active is not None
    notary.keyring.revoke(active.keyid, "stolen")
    says(notary, "is signed by a revoked key")


def pem(key: EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_a_given_key_signs_and_replaces_the_one_before(notary: Notary, tmp_path: Path) -> None:
    for source in ("file", "environment"):
        key = generate_private_key(SECP256R1())
        (tmp_path / "given.pem").write_text(pem(key))
        ring = (
            Keyring(tmp_path / "keys", tmp_path / "given.pem", {})
            if source == "file"
            else Keyring(tmp_path / "keys", None, {VARIABLE: pem(key)})
        )
        other = Notary(notary.ledger, notary.place, ring)
        other.seal("user:a")
        found = other.verify()
        assert found.ok, found.problems
        stored, _ = checkpoint.load(notary.place)
        assert stored[-1].keyid == dsse.keyid_of(key.public_key())
    assert len(list(ring.folder.glob("signing-*.pem"))) == 1  # given keys are not copied


def test_a_missing_private_half_is_named(notary: Notary) -> None:
    next(notary.keyring.folder.glob("signing-*.pem")).unlink()
    with pytest.raises(MissingComponent, match="rotate-key"):
        notary.seal("user:a")
    assert notary.verify().ok
    notary.rotate("user:a", "private half lost")
    assert notary.verify().ok


def test_an_auditor_needs_the_public_key_alone(notary: Notary, tmp_path: Path) -> None:
    notary.rotate("user:a", "yearly")
    active = notary.keyring.active()
    assert active is not None
    elsewhere = Notary(notary.ledger, notary.place, Keyring(tmp_path / "no keys", environment={}))
    assert elsewhere.verify(dsse.read_public(active.public, "")).ok
    assert "wrong key" in " ".join(elsewhere.verify(generate_private_key(SECP256R1()).public_key()).problems)
    assert "wrong key" in " ".join(elsewhere.verify().problems)


def test_nothing_is_signed_of_an_empty_log(tmp_path: Path) -> None:
    notary = notary_of(Ledger(tmp_path / "ledger.jsonl"))
    assert notary.seal("user:a") is None
    assert notary.verify().ok
    assert not (tmp_path / "ledger.jsonl").exists()


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signed")
    made = notary_of(Ledger(folder / "ledger.jsonl"))
    for _ in range(4):
        add(made.ledger, 3)
        made.seal("user:a")
    return folder


def mutate_lines(data: st.DataObject, ls: list[bytes]) -> list[bytes]:
    at, other = data.draw(st.integers(0, len(ls) - 1)), data.draw(st.integers(0, len(ls) - 1))
    kind = data.draw(st.sampled_from(["byte", "delete", "swap", "repeat", "cut", "rechain", "insert"]))
    if kind == "byte":
        i = data.draw(st.integers(0, len(ls[at]) - 1))
        ls[at] = ls[at][:i] + bytes([data.draw(st.integers(0, 255))]) + ls[at][i + 1 :]
    elif kind == "delete":
        del ls[at]
    elif kind == "swap":
        ls[at], ls[other] = ls[other], ls[at]
    elif kind == "repeat":
        ls.insert(other, ls[at])
    elif kind == "cut":
        del ls[at:]
    else:
        entries = [json.loads(line) for line in ls]
        if kind == "insert":
            entries.insert(at, dict(entries[other]))
        entries[at]["actor"] = data.draw(st.text("abc", min_size=1, max_size=5))
        ls = rechain(entries).splitlines(keepends=True)
    return ls


def mutate_checkpoints(data: st.DataObject, folder: Path) -> None:
    here = sorted(folder.iterdir())
    one, other = data.draw(st.sampled_from(here)), data.draw(st.sampled_from(here))
    kind = data.draw(st.sampled_from(["byte", "delete", "replay", "copy", "re-sign", "rename"]))
    content = one.read_bytes()
    if kind == "byte":
        i = data.draw(st.integers(0, len(content) - 1))
        one.write_bytes(content[:i] + bytes([data.draw(st.integers(0, 255))]) + content[i + 1 :])
    elif kind == "delete":
        one.unlink()
    elif kind == "replay":
        one.write_bytes(other.read_bytes())
    elif kind == "copy":
        (folder / f"{data.draw(st.integers(0, 99)):012d}-{'0' * 16}.json").write_bytes(content)
    elif kind == "rename":
        one.rename(folder / (data.draw(st.text("abc", min_size=1, max_size=9)) + ".json"))
    else:
        stored = next(s for s in checkpoint.load(Folder(folder))[0] if s.name == one.name)
        one.unlink()
        forged = dsse.sign(checkpoint.PAYLOAD_TYPE, stored.envelope.payload, generate_private_key(SECP256R1()))
        checkpoint.store(Folder(folder), stored.checkpoint, forged)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_mutation_of_log_or_checkpoints_goes_unnoticed(
    signed: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("mutated") / "home"
    shutil.copytree(signed, folder)
    log, places = folder / "ledger.jsonl", folder / "checkpoints"
    if data.draw(st.booleans(), label="log"):
        log.write_bytes(b"".join(mutate_lines(data, log.read_bytes().splitlines(keepends=True))))
    if data.draw(st.booleans(), label="checkpoints"):
        mutate_checkpoints(data, places)
    state = [(f.name, f.read_bytes()) for f in (log, *sorted(places.iterdir()))]
    same = state == [
        (f.name, f.read_bytes()) for f in (signed / "ledger.jsonl", *sorted((signed / "checkpoints").iterdir()))
    ]
    found = notary_of(Ledger(log)).verify()
    assert found.ok == same, found.problems
    shutil.rmtree(folder.parent)
