"""The review queue: what people are to judge, who has it at hand, and what they said. One SQLite file.

Every answer is on the disk before the reviewer sees the next item. Two reviewers do not get the same item: whoever gets
one holds it until it is answered or `LEASE` is over, and gets it again after a break. Golden items, on which the better
response is known, go to everybody, every `GOLDEN_EVERY`th time; nothing on the page tells them apart.
"""

import hashlib
import json
import random
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from governance.digest import canonical_json, sha256_bytes
from governance.errors import BadInput
from tasks.transactions import transaction

LEASE = 1800.0  # seconds
GOLDEN_EVERY = 6
CRITERIA = ("helpfulness", "accuracy", "harmlessness", "honesty")
TABLES = """
CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, run_id TEXT, content TEXT, priority REAL, gold INT);
CREATE TABLE IF NOT EXISTS leases (item_id TEXT PRIMARY KEY, reviewer TEXT, until REAL);
CREATE TABLE IF NOT EXISTS answers (item_id TEXT, reviewer TEXT, session TEXT, content TEXT, created_at TEXT,
                                    PRIMARY KEY (item_id, reviewer));
"""


@dataclass(frozen=True)
class Item:
    """What a reviewer sees: `order[k]` is the index of the response that is shown in place k."""

    id: str
    prompt: list[dict[str, str]]
    responses: list[str]
    why: str
    order: list[int]


@dataclass(frozen=True)
class Answer:
    """What a person said about an item: `ranking`, `shown_order`, `ratings`, `reason` and `seconds`, None where another
    tool does not tell."""

    item_id: str
    reviewer: str
    content: dict[str, Any]


@dataclass(frozen=True)
class Compared:
    """What one person said of two responses: index of the better one, None if they could not decide, and of the one that
    was shown first."""

    prompt: list[dict[str, str]]
    responses: tuple[str, str]
    better: int | None
    first: int


class ReviewStore:
    """Items and answers; reviewers are known by pseudonyms."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with transaction(self._path) as store:
            store.executescript(TABLES)

    def add(self, run_id: str, items: Sequence[dict[str, Any]]) -> int:
        """Add items of an evaluation (`ForReview` as JSON) that are not in the queue yet; how many they were."""
        rows = []
        for item in items:
            content = {k: item[k] for k in ("prompt", "responses", "why")}
            key = sha256_bytes(canonical_json([run_id, content["prompt"], content["responses"]]))[:24]
            rows.append((key, run_id, json.dumps(content, ensure_ascii=False), item["priority"], item["gold"]))
        with transaction(self._path) as store:
            before = store.total_changes
            store.executemany("INSERT OR IGNORE INTO items VALUES (?, ?, ?, ?, ?)", rows)
            return store.total_changes - before

    def next(self, reviewer: str, now: float) -> Item | None:
        """The item at hand of a reviewer, or the next one; None when there is nothing left for them."""
        with transaction(self._path) as store:
            held = store.execute(
                "SELECT item_id FROM leases WHERE reviewer = ? AND until > ?", (reviewer, now)
            ).fetchone()
            key = held[0] if held else self._choose(store, reviewer, now)
            if key is None:
                return None
            store.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", (key, reviewer, now + LEASE))
            (content,) = store.execute("SELECT content FROM items WHERE id = ?", (key,)).fetchone()
        return _shown(key, content, reviewer)

    def open_items(self) -> list[Item]:
        """Every item that nobody has answered, golden ones among them, in an order that tells nothing of that."""
        with transaction(self._path) as store:
            query = "SELECT id, content FROM items WHERE id NOT IN (SELECT item_id FROM answers) ORDER BY id"
            rows = store.execute(query).fetchall()
        return [_shown(key, content, "") for key, content in rows]

    def _choose(self, store: sqlite3.Connection, reviewer: str, now: float) -> str | None:
        (done,) = store.execute("SELECT count(*) FROM answers WHERE reviewer = ?", (reviewer,)).fetchone()
        golden = store.execute(
            "SELECT id FROM items WHERE gold IS NOT NULL AND id NOT IN (SELECT item_id FROM answers WHERE reviewer = ?) "
            "AND id NOT IN (SELECT item_id FROM leases WHERE until > ?) ORDER BY id",
            (reviewer, now),
        ).fetchone()
        open_ = store.execute(
            "SELECT id FROM items WHERE gold IS NULL AND id NOT IN (SELECT item_id FROM answers) "
            "AND id NOT IN (SELECT item_id FROM leases WHERE until > ?) ORDER BY priority DESC, id",
            (now,),
        ).fetchone()
        due = golden and (done + 1) % GOLDEN_EVERY == 0
        chosen = golden if due else open_
        return str(chosen[0]) if chosen else None

    def answer(self, item_id: str, reviewer: str, session: str, content: dict[str, Any]) -> None:
        """Keep what a reviewer said; a second answer to the same item changes nothing. Raises BadInput if it is no
        answer to this item."""
        self.take([Answer(item_id, reviewer, content)], session)

    def take(self, answers: Sequence[Answer], session: str) -> None:
        """Keep answers, all of them or, if one is no answer to its item, none: BadInput."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with transaction(self._path) as store:
            for a in answers:
                row = store.execute("SELECT content FROM items WHERE id = ?", (a.item_id,)).fetchone()
                if row is None:
                    raise BadInput(f"{a.item_id[:24]}: is not in the queue.")
                _check(a.content, len(json.loads(row[0])["responses"]))
                said = json.dumps(a.content, ensure_ascii=False)
                kept = (a.item_id, a.reviewer, session, said, now)
                store.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)", kept)
                store.execute("DELETE FROM leases WHERE item_id = ? AND reviewer = ?", (a.item_id, a.reviewer))

    def progress(self, reviewer: str) -> tuple[int, int]:
        """(answers of a reviewer, items that nobody has answered yet, golden ones apart)."""
        with transaction(self._path) as store:
            (done,) = store.execute("SELECT count(*) FROM answers WHERE reviewer = ?", (reviewer,)).fetchone()
            (left,) = store.execute(
                "SELECT count(*) FROM items WHERE gold IS NULL AND id NOT IN (SELECT item_id FROM answers)"
            ).fetchone()
        return int(done), int(left)

    def forget(self, reviewer: str) -> None:
        """Remove what a reviewer said, from the bytes of the file, too."""
        with transaction(self._path) as store:
            store.execute("PRAGMA secure_delete = ON")
            for table in ("answers", "leases"):
                store.execute(f"DELETE FROM {table} WHERE reviewer = ?", (reviewer,))

    def forget_items(self, run_ids: Sequence[str]) -> None:
        """Remove the items of runs and what was said of them, from the bytes of the file, too."""
        with transaction(self._path) as store:
            store.execute("PRAGMA secure_delete = ON")
            for run_id in run_ids:
                for table in ("answers", "leases"):
                    items = "SELECT id FROM items WHERE run_id = ?"
                    store.execute(f"DELETE FROM {table} WHERE item_id IN ({items})", (run_id,))
                store.execute("DELETE FROM items WHERE run_id = ?", (run_id,))

    def compared(self) -> list[Compared]:
        """Every answer on two responses, golden items apart, in the order in which they came."""
        with transaction(self._path) as store:
            rows = store.execute(
                "SELECT i.content, a.content FROM answers a JOIN items i ON i.id = a.item_id WHERE i.gold IS NULL "
                "ORDER BY a.created_at, i.id, a.reviewer"
            ).fetchall()
        found = []
        for item, said in rows:
            shown, answer = json.loads(item), json.loads(said)
            if len(shown["responses"]) == 2:
                better = answer["ranking"][0] if answer["ranking"] else None
                found.append(Compared(shown["prompt"], tuple(shown["responses"]), better, answer["shown_order"][0]))
        return found

    def export(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
        """(comparisons of responses, golden answers as {item_id, annotator_id, right}, ratings of single responses).

        Comparisons are K-way rankings as `attestrl run` reads them; golden items are not among them."""
        comparisons, golden, ratings = [], [], []
        with transaction(self._path) as store:
            rows = store.execute(
                "SELECT i.id, i.run_id, i.content, i.gold, a.reviewer, a.session, a.content, a.created_at FROM answers a "
                "JOIN items i ON i.id = a.item_id ORDER BY a.created_at, i.id, a.reviewer"
            ).fetchall()
        for key, run_id, item, gold, reviewer, session, said, created_at in rows:
            shown, answer = json.loads(item), json.loads(said)
            common = {"item_id": key, "annotator_id": reviewer, "session_id": session, "created_at": created_at}
            if gold is not None:
                if answer["ranking"]:
                    golden.append({**common, "right": answer["ranking"][0] == gold})
            elif len(shown["responses"]) > 1:
                if answer["ranking"]:
                    kept = {k: answer[k] for k in ("ranking", "shown_order", "reason", "seconds")}
                    source = {"source": f"review of {run_id}"}
                    comparisons.append(
                        {**common, "prompt": shown["prompt"], "responses": shown["responses"], **kept, **source}
                    )
            else:
                kept = {k: answer[k] for k in ("ratings", "reason", "seconds")}
                ratings.append({**common, "prompt": shown["prompt"], "response": shown["responses"][0], **kept})
        return comparisons, golden, ratings


def _shown(key: str, content: str, reviewer: str) -> Item:
    """An item with its responses in an order that is drawn for the reviewer, the same after a break."""
    found = json.loads(content)
    order = list(range(len(found["responses"])))
    random.Random(hashlib.sha256(f"{key} {reviewer}".encode()).digest()).shuffle(order)
    return Item(key, found["prompt"], found["responses"], found["why"], order)


def _check(content: dict[str, Any], responses: int) -> None:
    ranking, ratings = content["ranking"], content["ratings"]
    if responses > 1 and ranking is not None and sorted(ranking) != list(range(responses)):
        raise BadInput("give every response a place of its own, or say that you cannot decide.")
    if responses == 1 and (
        set(ratings) != set(CRITERIA) or not all(r is None or 1 <= r <= 5 for r in ratings.values())
    ):
        raise BadInput("rate each criterion from 1 to 5, or leave it open.")
