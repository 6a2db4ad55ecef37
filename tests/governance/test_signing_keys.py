"""Keys that sign checkpoints: given, changed, lost, stolen; what each of them is still good for."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from governance import checkpoint, dsse
from governance.entry import Event
from governance.errors import BadInput, GateRefused, MissingComponent
from governance.keys import VARIABLE, Keyring
from governance.notary import Notary
from tests.governance.signed_logs import add, forge, says


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
    edit(notary, active.keyid, status="revoked")
    says(notary, "is signed by a revoked key")


def edit(notary: Notary, keyid: str, **changes: object) -> None:
    """Change the list of keys, as whoever can write beside the log may."""
    file = notary.keyring.folder / "signing.json"
    keys = [key | changes if key["keyid"] == keyid else key for key in json.loads(file.read_text())]
    file.write_text(json.dumps(keys))


def test_a_revoked_key_that_is_active_again_in_the_list_is_named(notary: Notary) -> None:
    revoked = notary.revoke("user:a", None, "laptop lost")
    line = next(n for n, e in enumerate(notary.ledger.entries(), 1) if e.type == Event.KEY_REVOKED)
    edit(notary, revoked, status="active", until="", entries=0)
    says(notary, f"key {revoked[:16]} is active, which line {line} of the log revokes: the list was edited")
    with pytest.raises(GateRefused, match="no checkpoint is signed"):
        notary.seal("user:a")


def test_a_revoked_key_vouches_for_nothing_whatever_the_list_says(notary: Notary) -> None:
    stolen = notary.keyring.private()
    revoked = notary.revoke("user:a", None, "laptop lost")
    edit(notary, revoked, status="retired", entries=10_000)
    found = notary.verify()
    assert found.ok and found.keys[revoked].status == "revoked"
    assert "does not say that key" in found.notices[0]
    add(notary.ledger, 1)
    stored, _ = checkpoint.load(notary.place)
    name = forge(notary, found.entries + 1, stolen, stored[-1].digest)
    says(notary, f"checkpoint {name}: is signed by a revoked key")
    (notary.place.path / name).unlink()  # type: ignore[attr-defined]
    notary.seal("user:a")
    listed = notary.keyring.keys()[revoked]
    assert (listed.status, listed.reason, notary.verify().notices) == ("revoked", "laptop lost", [])


def test_a_replaced_key_vouches_for_nothing_later_whatever_the_list_says(notary: Notary) -> None:
    old, active = notary.keyring.private(), notary.keyring.active()
    assert active is not None
    notary.rotate("user:a", "yearly")
    edit(notary, active.keyid, entries=10_000)
    add(notary.ledger, 1)
    stored, _ = checkpoint.load(notary.place)
    name = forge(notary, 20, old, stored[-1].digest)
    says(notary, f"checkpoint {name}: is signed by a wrong or replaced key")
    edit(notary, active.keyid, status="active")
    says(notary, f"key {active.keyid[:16]} is active, which line 19 of the log replaces")


def test_a_key_whose_rotation_was_killed_can_be_revoked(notary: Notary) -> None:
    first = notary.keyring.active()
    assert first is not None
    notary.keyring.change(notary.verify().covered, "killed before the log heard of it")
    assert notary.verify().ok
    assert notary.revoke("user:a", first.keyid, "laptop lost") == first.keyid
    assert notary.verify().ok and notary.keyring.keys()[first.keyid].status == "revoked"


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
