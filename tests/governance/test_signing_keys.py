"""Keys that sign checkpoints: given, changed, lost, stolen; what each of them is still good for."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from governance import checkpoint, dsse
from governance.entry import Event
from governance.errors import BadInput, MissingComponent
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
