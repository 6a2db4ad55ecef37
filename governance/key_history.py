"""What the audit log itself says of the keys that sign its checkpoints: which were replaced or revoked, and where.

The list of keys (`governance.keys`) is a file that whoever can write beside the log can edit. The log's own entries on
keys stand under later checkpoints, so that where the two differ, the log is believed: a key that it revokes vouches for
nothing, one that it replaces for nothing after that.
"""

from dataclasses import replace
from typing import Any

from governance.entry import Event
from governance.keys import ACTIVE, RETIRED, REVOKED, Key


class KeyHistory:
    """The entries on keys, taken one by one as the log is read."""

    def __init__(self) -> None:
        self._revoked: dict[str, tuple[int, str, str]] = {}  # line of the entry, its time and reason by the key's id
        self._replaced: dict[str, int] = {}
        self._current: str | None = None

    def take(self, line: int, fields: dict[str, Any]) -> None:
        """Look at the entry that stands on a line (the first is 1)."""
        kind = fields.get("type")
        if kind not in (Event.KEY_MADE, Event.KEY_ROTATED, Event.KEY_REVOKED):
            return
        key = str(fields["subject_digests"].get("key", ""))
        if kind == Event.KEY_REVOKED:
            reason = str(fields["data"].get("reason", ""))
            self._revoked.setdefault(key, (line, fields["ts"][:19] + "+00:00", reason))
            return
        if self._current is not None and self._current != key:
            self._replaced.setdefault(self._current, line)
        self._current = key

    def believed(self, keys: dict[str, Key]) -> dict[str, Key]:
        """The keys as the log has them: revoked where it says so, and good for no entry after the one that replaced them."""
        return {keyid: self._believed(key) for keyid, key in keys.items()}

    def _believed(self, key: Key) -> Key:
        if key.keyid in self._revoked and key.status != REVOKED:
            _, since, reason = self._revoked[key.keyid]
            return replace(key, status=REVOKED, until=since, reason=reason)
        if key.keyid in self._replaced:
            return replace(key, entries=min(key.entries, self._replaced[key.keyid] - 1))
        return key

    def contradictions(self, keys: dict[str, Key]) -> list[str]:
        """A sentence for every key that signs by the list though the log ended that."""
        ended = {k: (line, "replaces") for k, line in self._replaced.items()}
        ended |= {k: (line, "revokes") for k, (line, _, _) in self._revoked.items()}
        return [
            f"signing.json: says that key {keyid[:16]} is active, which line {line} of the log {what}: the list was edited"
            for keyid, (line, what) in ended.items()
            if keyid in keys and keys[keyid].status == ACTIVE
        ]

    def unsaid(self, keys: dict[str, Key]) -> list[str]:
        """A sentence for every key of which the list does not say that the log revokes it: a revocation was killed, or
        somebody edited the list."""
        return [
            f"signing.json: does not say that key {keyid[:16]} is revoked, as line {line} of the log does; it counts as "
            "revoked, and the next checkpoint puts the list right"
            for keyid, (line, _, _) in self._revoked.items()
            if keyid in keys and keys[keyid].status == RETIRED
        ]
