"""A log under signed checkpoints, and ways to forge both."""

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from governance import checkpoint, dsse
from governance.checkpoint import Checkpoint
from governance.digest import canonical_json
from governance.entry import Event, hash_of
from governance.ledger import Ledger
from governance.notary import Notary
from governance.places import Folder


def add(ledger: Ledger, n: int) -> None:
    with ledger.batch() as append:
        for i in range(n):
            append(Event.STAGE_MADE, run_id=f"r{i}", actor="user:a", subject_digests={"x": "ab" * 32}, data={"i": i})


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


def forge(notary: Notary, size: int, key: EllipticCurvePrivateKey, previous: str, root: str = "0" * 64) -> str:
    head = json.loads(lines(notary)[size - 1])["entry_hash"]
    made = Checkpoint(json.loads(lines(notary)[0])["entry_hash"], size, head, root, checkpoint.now(), previous)
    envelope = dsse.sign(checkpoint.PAYLOAD_TYPE, checkpoint.payload(made), key)
    return checkpoint.store(notary.place, made, envelope).name
