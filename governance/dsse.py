"""Signed envelopes: DSSE (github.com/secure-systems-lab/dsse) with ECDSA over P-256 and SHA-256.

    PAE(type, body) = "DSSEv1" SP len(type) SP type SP len(body) SP body
    envelope = {"payload": base64(body), "payloadType": type, "signatures": [{"keyid", "sig": base64(ECDSA(PAE))}]}

Signatures are deterministic (RFC 6979): the same key and the same content give the same envelope. A `keyid` is the
SHA-256 of the public key's DER SubjectPublicKeyInfo.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from governance.digest import canonical_json, sha256_bytes
from governance.errors import BadInput


@dataclass(frozen=True)
class Envelope:
    """One signed document: its type, its bytes, and the signature with the id of the key that made it."""

    payload_type: str
    payload: bytes
    keyid: str
    signature: bytes

    def as_bytes(self) -> bytes:
        """Canonical JSON, one line."""
        signatures = [{"keyid": self.keyid, "sig": base64.b64encode(self.signature).decode()}]
        fields = {"payload": base64.b64encode(self.payload).decode(), "payloadType": self.payload_type}
        return canonical_json({**fields, "signatures": signatures}) + b"\n"

    def is_signed_by(self, key: EllipticCurvePublicKey) -> bool:
        """Whether the signature is that of `key` over the type and the bytes."""
        try:
            key.verify(self.signature, pae(self.payload_type, self.payload), ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload_type: str, payload: bytes, key: EllipticCurvePrivateKey) -> Envelope:
    """Envelope of `payload` under `key`."""
    signature = key.sign(pae(payload_type, payload), ECDSA(SHA256(), deterministic_signing=True))
    return Envelope(payload_type, payload, keyid_of(key.public_key()), signature)


def parse(content: bytes) -> Envelope:
    """Read an envelope with one signature. Raises ValueError unless `content` is what `as_bytes` gives."""
    try:
        fields: dict[str, Any] = json.loads(content)
        (signed,) = fields["signatures"]
        payload = base64.b64decode(fields["payload"], validate=True)
        signature = base64.b64decode(signed["sig"], validate=True)
        found = Envelope(str(fields["payloadType"]), payload, str(signed["keyid"]), signature)
        same = found.as_bytes() == content
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise ValueError("is not a signed envelope") from error
    if not same:
        raise ValueError("is not written as it was signed")
    return found


def keyid_of(key: EllipticCurvePublicKey) -> str:
    """SHA-256 of the key's DER form."""
    return sha256_bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def public_pem(key: EllipticCurvePublicKey) -> str:
    """PEM text of a public key."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def read_public(pem: str, where: str) -> EllipticCurvePublicKey:
    """Public key from PEM text. Raises BadInput if it is none on P-256."""
    try:
        key = load_pem_public_key(pem.encode())
    except ValueError:
        raise BadInput(f"{where}: is not a public key in PEM; export one with `openssl ec -pubout`.") from None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise BadInput(f"{where}: is not a key on the curve P-256; give one that is.")
    return key


def read_private(pem: str, where: str) -> EllipticCurvePrivateKey:
    """Private key from PEM text. Raises BadInput if it is none on P-256, or encrypted."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        raise BadInput(f"{where}: is not an unencrypted private key in PEM; give one on the curve P-256.") from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise BadInput(f"{where}: is not a key on the curve P-256; give one that is.")
    return key
