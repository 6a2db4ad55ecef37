"""Evidence of one run in one file that can be verified without this software: the same run gives the same bytes.

    manifest.json            signed list of every other file with its SHA-256, and the public keys
    index.html               the story of the run for a person
    mapping.json             what laws and standards ask for, and where it is
    schemas/…                JSON Schemas of the records
    verify.py                `governance.verify_bundle`, which shares no code with this module
    ledger/entries.jsonl     the run's entries as the log has them
    ledger/proofs.json       for each its Merkle path (RFC 9162) to the root of
    ledger/checkpoint.json   the first signed checkpoint that covers them all
    run/…                    the run's folder, whose digests stand in the run's last entry

The zip is stored, not compressed, in the order of names, dated 1980-01-01: no bit of it is left to the writer.
"""

import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

from governance import checkpoint, dsse, story
from governance.checkpoint import Stored
from governance.digest import canonical_json, sha256_bytes
from governance.entry import Entry, entry_line
from governance.errors import BadInput, GateRefused
from governance.keys import REVOKED
from governance.ledger import Log
from governance.mapping import mapping, read_declarations
from governance.merkle import Proofs
from governance.notary import Notary
from governance.records import check_unchanged, files_of

PAYLOAD_TYPE = "application/vnd.attestrl.evidence+json"
FORMAT = "attestrl-evidence/1"
DECLARATIONS = "declarations.yaml"
_DATE = (1980, 1, 1, 0, 0, 0)


def export(folders: Sequence[Path], notary: Notary, actor: str) -> Iterator[tuple[Path, bytes]]:
    """Bundles of the runs whose records are in `folders`, one after the other, each with its folder.

    The log is verified once. A checkpoint is signed first if none covers all of these runs yet. Raises GateRefused if
    the ledger does not verify or the records are not those that it names, BadInput if it does not know a run.
    """
    found = notary.verify()
    if not found.ok:
        raise GateRefused(f"the ledger does not verify ({found.problems[0]}); see `attestrl ledger verify`.")
    log = _Extract(notary.ledger, {folder.name for folder in folders})
    if log.last_seq >= found.covered or found.keys != notary.keyring.keys():
        notary.seal(actor)
        log = _Extract(notary.ledger, {folder.name for folder in folders})
    stored, _ = checkpoint.load(notary.place)
    keys = notary.keyring.keys()
    trusted = [s for s in stored if keys[s.keyid].status != REVOKED]
    for folder in folders:
        entries = log.entries.get(folder.name, [])
        if not entries:
            raise BadInput(f"{folder.name}: the ledger does not know this run; `attestrl runs` lists them.")
        check_unchanged(folder, entries)
        covering = next(s for s in trusted if s.checkpoint.size > entries[-1].seq)
        content = _content(folder, entries, covering, log.hashes)
        content["manifest.json"] = _manifest(content, folder.name, notary)
        yield folder, archive(content)


class _Extract:
    """One pass over the log: the hash of every entry (32 bytes each), and the entries of some runs."""

    def __init__(self, ledger: Log, runs: set[str]) -> None:
        self.hashes: list[bytes] = []
        self.entries: dict[str, list[Entry]] = {}
        self.last_seq = -1
        for entry in ledger.entries():
            self.hashes.append(bytes.fromhex(entry.entry_hash))
            if entry.run_id in runs:
                self.entries.setdefault(entry.run_id, []).append(entry)
                self.last_seq = entry.seq


def _content(folder: Path, entries: list[Entry], covering: Stored, hashes: list[bytes]) -> dict[str, bytes]:
    """Every file of the bundle but its manifest."""
    content = {f"run/{p.relative_to(folder).as_posix()}": p.read_bytes() for p in files_of(folder)}
    proofs = Proofs(hashes[: covering.checkpoint.size])
    paths = {str(e.seq): [h.hex() for h in proofs.of(e.seq)] for e in entries}
    content["ledger/entries.jsonl"] = b"".join(entry_line(e) for e in entries)
    content["ledger/proofs.json"] = canonical_json(paths) + b"\n"
    content["ledger/checkpoint.json"] = covering.envelope.as_bytes()
    schemas = sorted((files("governance") / "schemas").iterdir(), key=lambda p: p.name)
    content |= {f"schemas/{p.name}": p.read_bytes() for p in schemas if p.name.endswith(".json")}
    content["verify.py"] = (files("governance") / "verify_bundle.py").read_bytes()
    declared = content.get(f"run/{DECLARATIONS}")
    mapped = mapping(content, read_declarations(declared.decode(), DECLARATIONS) if declared else {})
    content["mapping.json"] = _pretty(mapped)
    content["index.html"] = story.index(content, entries, covering, mapped).encode()
    return content


def archive(content: dict[str, bytes]) -> bytes:
    """Zip file in the one way in which a bundle is written."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as z:
        for name in sorted(content):
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system, info.external_attr = 3, 0o100644 << 16
            z.writestr(info, content[name])
    return buffer.getvalue()


def _manifest(content: dict[str, bytes], run_id: str, notary: Notary) -> bytes:
    body: dict[str, Any] = {
        "format": FORMAT,
        "run_id": run_id,
        "files": {name: sha256_bytes(data) for name, data in content.items()},
        "keys": [asdict(key) for key in notary.keyring.keys().values()],
    }
    return dsse.sign(PAYLOAD_TYPE, canonical_json(body), notary.keyring.private()).as_bytes()


def _pretty(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
