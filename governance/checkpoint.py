"""Signed checkpoints of the audit log, and what they show that the chain alone cannot.

A checkpoint says in a signed envelope (`governance.dsse`) how long the log was, which hash its last entry had and
which Merkle root (`governance.merkle`) all of them have; it names the file of the checkpoint before it by SHA-256. It
lies in a place that the log's writer need not own (`governance.places`). The file's name holds the size and the first 16 digits of the
SHA-256 of its bytes. What was signed last is remembered beside the keys, so that an older state of the log together
with an older checkpoint is seen as what it is.
"""

import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from governance import dsse
from governance.digest import canonical_json, sha256_bytes
from governance.keys import ACTIVE, RETIRED, REVOKED, Key
from governance.places import Place

PAYLOAD_TYPE = "application/vnd.attestrl.checkpoint+json"
_NAME = re.compile(r"(\d{12})-([0-9a-f]{16})\.json")


@dataclass(frozen=True)
class Checkpoint:
    """What is signed. `log_id` is the hash of the log's first entry, `previous` the SHA-256 of the file of the
    checkpoint before it ("" for the first), `time` UTC in ISO 8601."""

    log_id: str
    size: int
    head: str
    root: str
    time: str
    previous: str


@dataclass(frozen=True)
class Stored:
    """A checkpoint in its place: the file's name, the SHA-256 of its bytes, what it says, and who signed it."""

    name: str
    digest: str
    checkpoint: Checkpoint
    keyid: str
    envelope: dsse.Envelope


def store(place: Place, checkpoint: Checkpoint, envelope: dsse.Envelope) -> Stored:
    """Write a signed checkpoint to its place."""
    content = envelope.as_bytes()
    digest = sha256_bytes(content)
    name = f"{checkpoint.size:012d}-{digest[:16]}.json"
    place.write(name, content)
    return Stored(name, digest, checkpoint, envelope.keyid, envelope)


def payload(checkpoint: Checkpoint) -> bytes:
    """Canonical JSON of a checkpoint."""
    return canonical_json(asdict(checkpoint))


def now() -> str:
    """UTC in ISO 8601, in seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def load(place: Place) -> tuple[list[Stored], list[str]]:
    """Checkpoints of a place in the order of their size, and a sentence for every file that is none."""
    found: list[Stored] = []
    problems: list[str] = []
    for name, content in place.read().items():
        read = _read(name, content)
        if isinstance(read, str):
            problems.append(f"checkpoint {name}: {read}")
        else:
            found.append(read)
    return sorted(found, key=lambda s: (s.checkpoint.size, s.name)), problems


def _read(name: str, content: bytes) -> Stored | str:
    """A checkpoint, or a sentence that says why the file is none."""
    try:
        envelope = dsse.parse(content)
        fields = json.loads(envelope.payload)
        if envelope.payload_type != PAYLOAD_TYPE or canonical_json(fields) != envelope.payload:
            return "is not a checkpoint"
        checkpoint = _typed(fields)
    except (ValueError, TypeError, RecursionError):
        return "was edited: it is not a signed checkpoint as this software writes it"
    named, digest = _NAME.fullmatch(name), sha256_bytes(content)
    if not named:
        return "has a name that no checkpoint has: it was put there by something else"
    if int(named[1]) != checkpoint.size:
        return (
            f"holds the checkpoint of {checkpoint.size} entries: another one, older or newer, was replayed in its place"
        )
    if named[2] != digest[:16]:
        return "was edited, or another one was put in its place: its bytes do not have the digest in its name"
    return Stored(name, digest, checkpoint, envelope.keyid, envelope)


def _typed(fields: Any) -> Checkpoint:
    checkpoint = Checkpoint(**fields)
    if type(checkpoint.size) is not int or not all(type(v) is str for k, v in fields.items() if k != "size"):
        raise TypeError("a field has another type")
    return checkpoint


def check_signatures(stored: list[Stored], keys: dict[str, Key], only: EllipticCurvePublicKey | None) -> list[str]:
    """A sentence for every checkpoint that no trusted key vouches for.

    A retired key vouches up to the entry at which it was replaced. A revoked key counts only where a checkpoint by
    another key follows and names it. With `only`, that one key is trusted; what was signed before it stands through
    the digests that its checkpoints name.
    """
    problems = []
    confirmed = _confirmed(stored, {s.digest for s in stored if _vouches(s, keys, only)})
    for s in stored:
        where = f"checkpoint {s.name}:"
        key = keys.get(s.keyid)
        public = only if only is not None and s.keyid == dsse.keyid_of(only) else None
        if public is None and key is not None:
            public = dsse.read_public(key.public, "signing.json")
        if public is None:
            if only is None or s.digest not in confirmed:
                problems.append(f"{where} is signed by a wrong key ({s.keyid[:16]}), which is not one of this log's")
        elif not s.envelope.is_signed_by(public):
            problems.append(f"{where} was edited or forged: its signature is not that of key {s.keyid[:16]}")
        elif s.digest not in confirmed and not _vouches(s, keys, only):
            status = "revoked" if key and key.status == REVOKED else "wrong or replaced"
            problems.append(f"{where} is signed by a {status} key ({s.keyid[:16]}) and no valid checkpoint follows it")
    return problems


def _vouches(s: Stored, keys: dict[str, Key], only: EllipticCurvePublicKey | None) -> bool:
    if only is not None:
        return s.keyid == dsse.keyid_of(only) and s.envelope.is_signed_by(only)
    key = keys.get(s.keyid)
    if key is None or not s.envelope.is_signed_by(dsse.read_public(key.public, "signing.json")):
        return False
    return key.status == ACTIVE or (key.status == RETIRED and s.checkpoint.size <= key.entries)


def _confirmed(stored: list[Stored], valid: set[str]) -> set[str]:
    """Digests of the checkpoints that a valid one names, directly or through others."""
    before = {s.digest: s.checkpoint.previous for s in stored}
    confirmed: set[str] = set()
    for digest in valid:
        at = before.get(digest, "")
        while at and at not in confirmed:
            confirmed.add(at)
            at = before.get(at, "")
    return confirmed


def check_order(stored: list[Stored]) -> list[str]:
    """A sentence for every checkpoint that does not follow the one before it."""
    problems = []
    last: Stored | None = None
    for s in stored:
        expected = last.digest if last else ""
        if s.checkpoint.previous != expected:
            if last and (
                s.checkpoint.previous == last.checkpoint.previous or s.checkpoint.size == last.checkpoint.size
            ):
                problems.append(f"checkpoint {s.name}: is a fork: it and {last.name} claim the same place in the log")
            else:
                where = f"between {last.name} and it" if last else "before it"
                problems.append(f"checkpoint {s.name}: names another one before it: one is gone {where}")
        last = s
    return problems
