"""What `attestrl monitor` keeps between calls: figures of each response, state of each series, alarms. One SQLite file.

No text and no name is in it: a response is known by a keyed digest of what the log calls it, so that none is counted
twice, and by its figures. Readings, states and alarms of a chunk are written in one transaction: a killed call has
counted a chunk or has not.
"""

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from governance.digest import canonical_json
from tasks.drift import Watch
from tasks.logs import Interaction
from tasks.transactions import transaction

TABLES = """
CREATE TABLE IF NOT EXISTS readings (policy TEXT, key BLOB, number INT, at REAL, figures TEXT, PRIMARY KEY (policy, key))
WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_number ON readings (policy, number);
CREATE TABLE IF NOT EXISTS states (policy TEXT, series TEXT, content TEXT, PRIMARY KEY (policy, series));
CREATE TABLE IF NOT EXISTS alarms (id TEXT PRIMARY KEY, policy TEXT, content TEXT, recorded INT, emitted INT);
"""


@dataclass(frozen=True)
class Reading:
    """A response by its key, time and figures."""

    key: bytes
    at: float
    figures: dict[str, float]


class Keys:
    """Digests of the lines of one log. What has an id of its own is known by that and its content. What has none is known
    by content, time, how often the same was there before in the log, and the log's first line: so a log that has grown
    or was moved is known again, and two people who say the same in it are two."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._first = b""
        self._before: Counter[bytes] = Counter()

    def of(self, interaction: Interaction) -> bytes:
        """Key of the next interaction."""
        content: list[Any] = [interaction.identity, interaction.prompt, interaction.response]
        if interaction.identity:
            return self._digest(canonical_json(content))
        content.append(None if interaction.at is None else str(interaction.at))
        digest = self._digest(canonical_json(content))
        self._first = self._first or digest
        self._before[digest] += 1
        return self._digest(self._first + digest + str(self._before[digest]).encode())

    def _digest(self, data: bytes) -> bytes:
        return hmac.new(self._key, data, hashlib.sha256).digest()[:16]


class MonitorStore:
    """Readings, states and alarms by policy (its SHA-256)."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with transaction(self._path) as store:
            for statement in filter(str.strip, TABLES.split(";")):
                store.execute(statement)

    def known(self, policy: str, keys: Sequence[bytes]) -> set[bytes]:
        """Those of `keys` that were counted for a policy."""
        found: set[bytes] = set()
        with transaction(self._path) as store:
            for at in range(0, len(keys), 500):
                some = keys[at : at + 500]
                marks = ",".join("?" * len(some))
                query = f"SELECT key FROM readings WHERE policy = ? AND key IN ({marks})"
                found |= {k for (k,) in store.execute(query, (policy, *some))}
        return found

    def load(self, policy: str) -> tuple[dict[str, Watch], int, float]:
        """(states of the series, responses counted, time of the latest; 0 if there is none)."""
        with transaction(self._path) as store:
            rows = store.execute("SELECT series, content FROM states WHERE policy = ?", (policy,)).fetchall()
            query = "SELECT count(*), max(at) FROM readings WHERE policy = ?"
            counted, latest = store.execute(query, (policy,)).fetchone()
        return {name: Watch.from_dict(json.loads(content)) for name, content in rows}, counted, latest or 0.0

    def commit(
        self, policy: str, readings: Sequence[Reading], watches: dict[str, Watch], alarms: Sequence[dict[str, Any]]
    ) -> None:
        """Write a chunk: all of it or nothing."""
        with transaction(self._path) as store:
            (number,) = store.execute("SELECT count(*) FROM readings WHERE policy = ?", (policy,)).fetchone()
            rows = [
                (policy, r.key, number + i, r.at, json.dumps(list(r.figures.values()))) for i, r in enumerate(readings)
            ]
            store.executemany("INSERT INTO readings VALUES (?, ?, ?, ?, ?)", rows)
            states = [(policy, name, json.dumps(watch.as_dict())) for name, watch in watches.items()]
            store.executemany("INSERT OR REPLACE INTO states VALUES (?, ?, ?)", states)
            raised = [(a["alarm_id"], policy, json.dumps(a)) for a in alarms]
            store.executemany("INSERT OR IGNORE INTO alarms VALUES (?, ?, ?, 0, 0)", raised)

    def figures(self, policy: str, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """(times (n,), figures (n, series)) of the responses from number `first` on, in the order of counting."""
        with transaction(self._path) as store:
            query = "SELECT at, figures FROM readings WHERE policy = ? AND number >= ? ORDER BY number"
            rows = store.execute(query, (policy, first)).fetchall()
        return np.array([at for at, _ in rows]), np.array([json.loads(f) for _, f in rows])

    def alarms(self, policy: str) -> list[dict[str, Any]]:
        """Every alarm of a policy, in order."""
        with transaction(self._path) as store:
            rows = store.execute("SELECT content FROM alarms WHERE policy = ? ORDER BY rowid", (policy,)).fetchall()
        return [json.loads(content) for (content,) in rows]

    def pending(self, step: str) -> list[dict[str, Any]]:
        """Alarms that were not yet `recorded` in the ledger, or `emitted` as an event."""
        with transaction(self._path) as store:
            rows = store.execute(f"SELECT content FROM alarms WHERE NOT {_step(step)} ORDER BY rowid").fetchall()
        return [json.loads(content) for (content,) in rows]

    def settle(self, alarm_id: str, step: str) -> None:
        """Say that an alarm was recorded or emitted."""
        with transaction(self._path) as store:
            store.execute(f"UPDATE alarms SET {_step(step)} = 1 WHERE id = ?", (alarm_id,))


def _step(name: str) -> str:
    assert name in ("recorded", "emitted")
    return name
