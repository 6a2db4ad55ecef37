"""Responses that were sampled before, by the digest of what decides them: model, prompt tokens, sampling, which sample.

One SQLite file; only digests and token ids are in it. Written in one transaction, so that a killed run loses at most
what it was sampling.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sampled:
    """A response: its token ids, whether the end token came, and the mean entropy of its tokens in nats."""

    ids: list[int]
    ended: bool
    entropy: float


class ResponseCache:
    """Sampled responses by digest."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with closing(self._open()) as store, store:
            store.execute(
                "CREATE TABLE IF NOT EXISTS responses (key TEXT PRIMARY KEY, ids TEXT, ended INT, entropy REAL)"
            )

    def get(self, keys: Sequence[str]) -> dict[str, Sampled]:
        """Those of `keys` that are known."""
        found: dict[str, Sampled] = {}
        with closing(self._open()) as store:
            for at in range(0, len(keys), 500):
                some = keys[at : at + 500]
                marks = ",".join("?" * len(some))
                rows = store.execute(f"SELECT key, ids, ended, entropy FROM responses WHERE key IN ({marks})", some)
                found |= {key: Sampled(json.loads(ids), bool(ended), entropy) for key, ids, ended, entropy in rows}
        return found

    def put(self, responses: Iterable[tuple[str, Sampled]]) -> None:
        """Keep responses; one that is known already stays as it is."""
        rows = [(key, json.dumps(s.ids), int(s.ended), s.entropy) for key, s in responses]
        with closing(self._open()) as store, store:
            store.executemany("INSERT OR IGNORE INTO responses VALUES (?, ?, ?, ?)", rows)

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=60)
