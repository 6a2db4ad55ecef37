"""Signs checkpoints of the audit log, and verifies the log against all of them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from filelock import FileLock

from governance import checkpoint, dsse
from governance.checkpoint import Checkpoint, Stored
from governance.digest import write_json
from governance.entry import Event
from governance.errors import BadInput, GateRefused
from governance.key_history import KeyHistory
from governance.keys import REVOKED, Key, Keyring
from governance.ledger import Log
from governance.merkle import Tree
from governance.places import Place


@dataclass(frozen=True)
class Audit:
    """Result of a verification. `covered` entries are under a checkpoint; `head` and `root` are those of the log, `last`
    is the checkpoint that was found to be the latest, `keys` are the list's as far as the log bears it out."""

    entries: int
    covered: int
    problems: list[str]
    notices: list[str]
    log_id: str
    head: str
    root: str
    last: Stored | None
    keys: dict[str, Key]

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against the log."""
        return not self.problems


class Notary:
    """Signs for one log: its checkpoints are in `place`, its keys in `keyring`."""

    def __init__(self, ledger: Log, place: Place, keyring: Keyring) -> None:
        self.ledger = ledger
        self.place = place
        self.keyring = keyring
        self._seen = keyring.folder / "last-checkpoint.json"

    def verify(self, key: EllipticCurvePublicKey | None = None) -> Audit:
        """Check the chain, the checkpoints, and the log against them; with `key`, trust that one alone."""
        stored, problems = checkpoint.load(self.place)
        reader, keys = _Reader(stored), self.keyring.keys()
        chain = self.ledger.verify(reader.visit)
        problems += checkpoint.check_order(stored)
        believed = reader.keys.believed(keys)
        problems += checkpoint.check_signatures(stored, believed, key)
        problems += reader.keys.contradictions(keys)
        problems += self._check_seen(stored)
        problems = chain.problems + reader.finish(chain.entries, chain.ok) + problems
        covered = min(stored[-1].checkpoint.size, chain.entries) if stored else 0
        notices = reader.keys.unsaid(keys)
        if covered < chain.entries:
            first = f"{covered + 1} to {chain.entries}" if covered + 1 < chain.entries else str(chain.entries)
            notices.append(
                f"line {first}: under no signature yet, so that whoever can write the log could have changed it; the next "
                "checkpoint covers it"
            )
        last, root = stored[-1] if stored else None, reader.tree.root().hex()
        return Audit(chain.entries, covered, problems, notices, reader.log_id, reader.head, root, last, believed)

    def seal(self, actor: str) -> Stored | None:
        """Sign a checkpoint of the log as it is, unless one covers it all; gives the latest.

        Raises GateRefused if the log does not verify: what is signed must be whole.
        """
        self.keyring.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(self.keyring.folder / "signing.lock"):
            found = self._whole()
            if not found.entries:
                return None
            if found.keys != self.keyring.keys():
                self.keyring.put_right(found.keys)
            if self.keyring.wants_change():
                self._change_key(
                    actor, found, "made on first use" if self.keyring.active() is None else "another given"
                )
                found = self._whole()
            return self._sign(found)

    def rotate(self, actor: str, reason: str) -> str:
        """Go on with another key and sign with it; gives its id."""
        self.keyring.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(self.keyring.folder / "signing.lock"):
            keyid = self._change_key(actor, self._whole(), reason)
            self._sign(self._whole())
            return keyid

    def revoke(self, actor: str, keyid: str | None, reason: str) -> str:
        """Stop trusting a key, the active one if none is named: what it signed stands through the new key's
        checkpoint alone. Gives the revoked key's id. Raises BadInput if there is no such key."""
        active = self.keyring.active()
        every = self.keyring.keys()
        known = [k for k in every if k.startswith(keyid or (active.keyid if active else "-"))]
        if len(known) != 1:
            raise BadInput(f"{keyid or 'signing key'}: names no key of this log; they are in {self.keyring.folder}.")
        if every[known[0]].status == REVOKED:
            raise BadInput(f"{known[0][:16]}: is revoked already.")
        last = self._whole().last
        if known[0] in (active.keyid if active else None, last.keyid if last else None):
            self.rotate(actor, f"replaces a revoked key: {reason}")
        self._log(Event.KEY_REVOKED, actor, known[0], reason)
        self.seal(actor)
        return known[0]

    def _whole(self) -> Audit:
        found = self.verify()
        if not found.ok:
            raise GateRefused(
                f"no checkpoint is signed: the ledger does not verify ({found.problems[0]}); "
                "see `attestrl ledger verify`."
            )
        return found

    def _change_key(self, actor: str, found: Audit, reason: str) -> str:
        event = Event.KEY_MADE if self.keyring.active() is None else Event.KEY_ROTATED
        key = self.keyring.change(found.covered, reason)
        self._log(event, actor, key.keyid, reason)
        return key.keyid

    def _log(self, event: Event, actor: str, keyid: str, reason: str) -> None:
        digests = {"key": keyid}
        self.ledger.append(event, run_id="", actor=actor, subject_digests=digests, data={"reason": reason})

    def _sign(self, found: Audit) -> Stored:
        if found.last and found.last.checkpoint.size == found.entries:
            return found.last
        previous = found.last.digest if found.last else ""
        made = Checkpoint(found.log_id, found.entries, found.head, found.root, checkpoint.now(), previous)
        envelope = dsse.sign(checkpoint.PAYLOAD_TYPE, checkpoint.payload(made), self.keyring.private())
        kept = checkpoint.store(self.place, made, envelope)
        write_json(self._seen, {"name": kept.name, "sha256": kept.digest})
        return kept

    def _check_seen(self, stored: list[Stored]) -> list[str]:
        if not self._seen.is_file():
            return []
        try:
            seen = json.loads(self._seen.read_text(encoding="utf-8"))
            name, digest = seen["name"], seen["sha256"]
        except (ValueError, KeyError, TypeError):
            raise BadInput(f"{self._seen}: is damaged; restore it from a backup.") from None
        if any(s.digest == digest for s in stored):
            return []
        instead = "an older one was replayed in its place" if stored else "so are all others"
        return [f"checkpoint {name}: was signed here and is gone; {instead}"]


class _Reader:
    """Builds the tree of the log as it is read, and compares it at the size of every checkpoint."""

    def __init__(self, stored: Iterable[Stored]) -> None:
        self.tree = Tree()
        self.keys = KeyHistory()
        self.log_id = self.head = ""
        self._waiting = sorted(stored, key=lambda s: s.checkpoint.size)
        self._different: list[Stored] = []
        self._agreed = 0

    def visit(self, entry_hash: str, fields: dict[str, Any]) -> None:
        """Take the next entry."""
        try:
            self.tree.add(bytes.fromhex(entry_hash))
        except ValueError:  # the chain says what is wrong with the line
            self.tree.add(b"")
        self.keys.take(self.tree.size, fields)
        self.head = entry_hash
        self.log_id = self.log_id or entry_hash
        while self._waiting and self._waiting[0].checkpoint.size <= self.tree.size:
            s = self._waiting.pop(0)
            c = s.checkpoint
            if (c.log_id, c.size, c.head, c.root) == (self.log_id, self.tree.size, self.head, self.tree.root().hex()):
                self._agreed = c.size
            else:
                self._different.append(s)

    def finish(self, entries: int, chain_ok: bool) -> list[str]:
        """What the checkpoints say against the log."""
        problems = []
        for s in self._different:
            c = s.checkpoint
            how = "the log was written anew without the key, or forked" if chain_ok else "the log was changed"
            first = min(self._agreed + 1, c.size)
            problems.append(f"line {first} to {c.size}: not what checkpoint {s.name} signed: {how}")
        if self._waiting and not entries:
            problems.append(f"the log is gone: checkpoint {self._waiting[-1].name} signed entries of it")
        elif self._waiting:
            s = self._waiting[-1]
            gone = s.checkpoint.size - entries
            problems.append(f"line {entries + 1}: {gone} entries at the end are gone that checkpoint {s.name} signed")
        return problems
