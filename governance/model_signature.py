"""Signatures of models: OpenSSF Model Signing 1.0, made and verified by the package `model-signing`.

A signature is a Sigstore bundle (v0.3) around a DSSE envelope: its in-toto statement lists every file of the model's
folder by SHA-256, git's own files and hidden ones among them. It is made with the key that signs the checkpoints (ECDSA,
P-256, SHA-256), without a certificate and without a transparency log, so that nothing leaves the machine. Anybody can
verify it with the public key and without this software: `python -m model_signing verify key`.
"""

import base64
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from governance import dsse
from governance.digest import canonical_json, sha256_bytes, sha256_path, write_atomic
from governance.errors import GateRefused, MissingComponent
from governance.keys import REVOKED, Key

FOLDER = "signatures"  # in a run's folder


def sign(model: Path, key: EllipticCurvePrivateKey, to: Path) -> None:
    """Sign a model's folder; the signature is written to `to`. Raises MissingComponent without `model-signing`."""
    signing, _ = _package()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with tempfile.TemporaryDirectory() as scratch, _as_file(pem) as private:
        made = Path(scratch) / "model.sig"
        config = signing.Config().set_hashing_config(_hashing()).use_elliptic_key_signer(private_key=private)
        config.sign(model, made)
        write_atomic(to, made.read_bytes())


def holds(signature: Path, digest: str, key: EllipticCurvePublicKey) -> bool:
    """Whether it is there, by this key, and over the files of the folder whose `sha256_path` is `digest`. Nothing of the model
    is read."""
    try:
        bundle = json.loads(signature.read_bytes())
        hint, envelope = bundle["verificationMaterial"]["publicKey"]["hint"], _envelope(bundle)
        listed = _listed(envelope)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    by_it = hint == sha256_bytes(dsse.public_pem(key).encode()) and envelope.is_signed_by(key)
    return by_it and sha256_bytes(canonical_json(listed)) == digest


def _envelope(bundle: dict[str, Any]) -> dsse.Envelope:
    fields = bundle["dsseEnvelope"]
    (signed,) = fields["signatures"]
    payload, made = base64.b64decode(fields["payload"]), base64.b64decode(signed["sig"])
    return dsse.Envelope(str(fields["payloadType"]), payload, "", made)


def _listed(envelope: dsse.Envelope) -> dict[str, str]:
    """SHA-256 by the file's name."""
    return {r["name"]: r["digest"] for r in json.loads(envelope.payload)["predicate"]["resources"]}


def check(model: Path, signature: Path, keys: Iterable[Key]) -> None:
    """Raises GateRefused unless the signature is by one of these keys, not revoked, over exactly the folder's files."""
    _, verifying = _package()
    key = _signer(signature, keys)
    with _as_file(key.public.encode()) as public:
        config = verifying.Config().set_hashing_config(_hashing()).use_elliptic_key_verifier(public_key=public)
        try:
            config.verify(model, signature)
        except (ValueError, TypeError, KeyError, InvalidSignature) as error:
            mismatch = str(error).startswith("Signature mismatch")
            said = _difference(model, signature) if mismatch else "it was changed or forged"
            raise GateRefused(f"{signature}: does not verify over {model}: {said}.") from None


def _difference(model: Path, signature: Path) -> str:
    """Which files are others than a signature lists; what model-signing says of it holds raw digests."""
    listed = _listed(_envelope(json.loads(signature.read_text(encoding="utf-8"))))
    found = {p.relative_to(model).as_posix(): sha256_path(p) for p in sorted(model.rglob("*")) if p.is_file()}
    names = [n for n in sorted(listed.keys() | found.keys()) if listed.get(n) != found.get(n)]
    how = ["is extra" if n not in listed else "was changed" if n in found else "is missing" for n in names]
    return ", ".join(f"{name} {what}" for name, what in zip(names, how, strict=True))


def _signer(signature: Path, keys: Iterable[Key]) -> Key:
    """The key that a signature names, by the SHA-256 of its PEM text."""
    try:
        bundle: dict[str, Any] = json.loads(signature.read_text(encoding="utf-8"))
        hint = bundle["verificationMaterial"]["publicKey"]["hint"]
    except (OSError, ValueError, KeyError, TypeError):
        raise GateRefused(f"{signature}: is no signature of a model.") from None
    key = next((k for k in keys if sha256_bytes(k.public.encode()) == hint), None)
    if key is None or key.status == REVOKED:
        raise GateRefused(
            f"{signature}: is by a {'revoked' if key else 'wrong'} key; make the model again and sign it."
        )
    return key


def _package() -> tuple[Any, Any]:
    try:
        from model_signing import signing, verifying
    except ImportError as error:
        raise MissingComponent(f"model signatures need the package model-signing ({error}).") from None
    return signing, verifying


def _hashing() -> Any:
    """Every file counts. DVC may have linked files from its cache: they count by their content."""
    from model_signing import hashing

    config: Any = hashing.Config
    return config().set_ignored_paths(paths=[], ignore_git_paths=False).set_allow_symlinks(True)


@contextmanager
def _as_file(content: bytes) -> Iterator[Path]:
    """A path from which a small text can be read once, without its touching the disk."""
    read, write = os.pipe()
    try:
        os.write(write, content)
        os.close(write)
        yield Path(f"/dev/fd/{read}")
    finally:
        os.close(read)
