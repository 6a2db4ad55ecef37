"""Envelopes: the encoding of the specification, and every change to an envelope refused."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from governance import dsse
from governance.errors import BadInput


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def test_the_encoding_of_the_specification() -> None:
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_the_published_signature_verifies() -> None:
    """Key and envelope of the test vector in DSSE's protocol.md."""
    x = 46950820868899156662930047687818585632848591499744589407958293238635476079160
    y = 5640078356564379163099075877009565129882514886557779369047442380624545832820
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    raw = base64.b64decode("A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==")
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    signature = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    envelope = dsse.Envelope("http://example.com/HelloWorld", b"hello world", "", signature)
    assert envelope.is_signed_by(public)


def test_the_same_key_and_content_give_the_same_envelope(key: ec.EllipticCurvePrivateKey) -> None:
    one, two = (dsse.sign("text/plain", b"x", key).as_bytes() for _ in range(2))
    assert one == two
    assert dsse.parse(one).is_signed_by(key.public_key())


def test_another_type_content_or_key_does_not_verify(key: ec.EllipticCurvePrivateKey) -> None:
    e = dsse.sign("text/plain", b"x", key)
    other = ec.generate_private_key(ec.SECP256R1())
    assert not e.is_signed_by(other.public_key())
    assert not dsse.Envelope("text/html", e.payload, e.keyid, e.signature).is_signed_by(key.public_key())
    assert not dsse.Envelope(e.payload_type, b"y", e.keyid, e.signature).is_signed_by(key.public_key())


@pytest.mark.parametrize("how", ["spaces", "extra", "two", "base64", "text", "list"])
def test_an_envelope_written_in_another_way_is_refused(key: ec.EllipticCurvePrivateKey, how: str) -> None:
    fields = json.loads(dsse.sign("text/plain", b"xy", key).as_bytes())
    changed = {
        "spaces": json.dumps(fields).encode(),
        "extra": json.dumps(fields | {"more": 1}, separators=(",", ":")).encode(),
        "two": json.dumps(fields | {"signatures": fields["signatures"] * 2}).encode(),
        "base64": json.dumps(fields | {"payload": "eHk"}).encode(),
        "text": b"hello",
        "list": b"[]",
    }
    with pytest.raises(ValueError, match="is not"):
        dsse.parse(changed[how])


def test_keys_that_cannot_sign_are_named(key: ec.EllipticCurvePrivateKey) -> None:
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"p")).decode()
    other_curve = ec.generate_private_key(ec.SECP384R1())
    other = other_curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for text, reason in ((locked, "unencrypted"), ("nonsense", "PEM"), (other, "P-256")):
        with pytest.raises(BadInput, match=rf"here: .*{reason}"):
            dsse.read_private(text, "here")
    with pytest.raises(BadInput, match=r"here: .*public key"):
        dsse.read_public("nonsense", "here")
    assert dsse.keyid_of(dsse.read_public(dsse.public_pem(key.public_key()), "here")) == dsse.keyid_of(key.public_key())
