"""Keys that sign checkpoints and bundles: made on first use, given from outside, rotated, revoked.

`<folder>/signing.json` lists every key that ever signed, with its public half; the private half of a key made here is
`<folder>/signing-<keyid>.pem`, mode 0600. One key is active. A retired key vouches for the entries up to the one at
which it was replaced; a revoked key vouches for nothing by itself.
"""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from governance import dsse
from governance.digest import sync_folder, write_json
from governance.errors import BadInput, GateRefused, MissingComponent

VARIABLE = "ATTESTRL_SIGNING_KEY"
ACTIVE, RETIRED, REVOKED = "active", "retired", "revoked"


@dataclass(frozen=True)
class Key:
    """A key of the list: `public` in PEM, `since` and `until` in ISO 8601; `entries` is the size of the log at `until`."""

    keyid: str
    public: str
    status: str
    since: str
    until: str = ""
    entries: int = 0
    reason: str = ""


class Keyring:
    """The keys in a folder. `given` is a PEM file with the private key to use; the variable ATTESTRL_SIGNING_KEY may
    hold the PEM text itself and goes first."""

    def __init__(self, folder: Path, given: Path | None = None, environment: Mapping[str, str] = os.environ) -> None:
        self.folder = folder
        self._given = given
        self._environment = environment
        self._file = folder / "signing.json"

    def keys(self) -> dict[str, Key]:
        """Every key by its id. Raises BadInput if the list is damaged."""
        if not self._file.is_file():
            return {}
        try:
            keys = [Key(**fields) for fields in json.loads(self._file.read_text(encoding="utf-8"))]
        except (ValueError, TypeError):
            raise BadInput(f"{self._file}: is not a list of keys; restore it from a backup.") from None
        return {key.keyid: key for key in keys}

    def active(self) -> Key | None:
        """The key that signs now, if one ever did."""
        return next((key for key in self.keys().values() if key.status == ACTIVE), None)

    def given(self) -> EllipticCurvePrivateKey | None:
        """The key that was given from outside. Raises BadInput if it is none."""
        if text := self._environment.get(VARIABLE):
            return dsse.read_private(text, VARIABLE)
        if self._given is None:
            return None
        try:
            return dsse.read_private(self._given.read_text(encoding="utf-8"), str(self._given))
        except (OSError, UnicodeDecodeError):
            raise BadInput(f"{self._given}: cannot be read; evidence.signing_key names a PEM file.") from None

    def private(self) -> EllipticCurvePrivateKey:
        """Private half of the active key. Raises MissingComponent where it is not at hand."""
        given, active = self.given(), self.active()
        if active is None:
            raise MissingComponent(f"{self._file}: names no active key; `attestrl ledger rotate-key` makes one.")
        if given is not None and dsse.keyid_of(given.public_key()) == active.keyid:
            return given
        file = self._private_file(active.keyid)
        if not file.is_file():
            raise MissingComponent(
                f"{file}: the private half of the signing key is missing; restore it, give it in {VARIABLE}, "
                "or go on with another: `attestrl ledger rotate-key`."
            )
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise BadInput(f"{file}: others may read this private key; `chmod 600` it, or rotate it if they did.")
        return dsse.read_private(file.read_text(encoding="utf-8"), str(file))

    def wants_change(self) -> bool:
        """Whether there is no active key yet, or another one is given."""
        given, active = self.given(), self.active()
        return active is None or (given is not None and dsse.keyid_of(given.public_key()) != active.keyid)

    def change(self, entries: int, reason: str) -> Key:
        """Make another key active: the given one if it is new, else one made here. The one before is retired at
        `entries`. Raises GateRefused or BadInput where the given key was revoked or retired before."""
        keys, now = self.keys(), datetime.now(UTC).isoformat(timespec="seconds")
        private = self.given() if self.wants_change() else None
        if private is None:
            private = self._make()
        keyid = dsse.keyid_of(private.public_key())
        if keyid in keys and keys[keyid].status == REVOKED:
            raise GateRefused(f"signing key {keyid[:16]}: was revoked ({keys[keyid].reason}); give another.")
        if keyid in keys and keys[keyid].status == RETIRED:
            raise BadInput(f"signing key {keyid[:16]}: was replaced on {keys[keyid].until}; give a new one.")
        kept = [
            replace(key, status=RETIRED, until=now, entries=entries, reason=reason) if key.status == ACTIVE else key
            for key in keys.values()
        ]
        made = Key(keyid, dsse.public_pem(private.public_key()), ACTIVE, now)
        self._save([*kept, made])
        return made

    def put_right(self, keys: Mapping[str, Key]) -> None:
        """Write the list as the log bears it out (`governance.key_history`): it revokes what the log revokes."""
        self._save(list(keys.values()))

    def _make(self) -> EllipticCurvePrivateKey:
        key = generate_private_key(SECP256R1())
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = self._private_file(dsse.keyid_of(key.public_key()))
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
            f.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            f.flush()
            os.fsync(f.fileno())
        return key

    def _private_file(self, keyid: str) -> Path:
        return self.folder / f"signing-{keyid[:16]}.pem"

    def _save(self, keys: list[Key]) -> None:
        write_json(self._file, [asdict(key) for key in keys])
        sync_folder(self.folder)
