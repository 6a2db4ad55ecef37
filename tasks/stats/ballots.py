"""Votes as arrays: what the annotator statistics work on. Integer codes instead of names, grouped by item."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

UNKNOWN = -1
AT_ONCE = 1 << 16  # votes that are counted at once
PEOPLE_AT_ONCE = 1 << 13  # for whom something is worked out at once that is larger than their votes


def ordered(key: np.ndarray, limit: int) -> np.ndarray:
    """(n,) int32 rows by `key` ((n,) int64, from 0, less than `limit`), equal ones as they stand; `key` is sorted."""
    bits = len(key).bit_length()
    if limit.bit_length() + bits > 63:
        order = np.argsort(key, kind="stable").astype(np.int32)
        key[:] = key[order]
        return order
    key <<= bits  # key and row in one number are sorted in place
    key |= np.arange(len(key))
    sort(key)
    rows = np.empty(len(key), dtype=np.int32)
    for part in slices(len(key)):
        rows[part] = key[part] & ((1 << bits) - 1)
    key >>= bits
    return rows


def sort(key: np.ndarray) -> None:
    """Sort `key` in place, each half of it on a core."""
    if not len(key):
        return
    middle = len(key) // 2
    key.partition(middle)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(np.ndarray.sort, (key[:middle], key[middle:])))


def sums(code: np.ndarray, weights: np.ndarray | None, n: int) -> np.ndarray:
    """(n,) number of votes of each code, or sum of their `weights`: what `bincount` gives, bit for bit, without wider
    copies of all votes."""
    out = np.zeros(n, dtype=np.int64 if weights is None else np.float64)
    for part in slices(len(code)):
        add(out, code[part], None if weights is None else weights[part])
    return out


def add(out: np.ndarray, code: np.ndarray, weights: np.ndarray | None = None) -> None:
    """Add the votes of each code, or their `weights`, to `out`, one after the other."""
    np.add.at(out, code.astype(np.intp), 1 if weights is None else weights.astype(out.dtype))


def slices(n: int) -> Iterator[slice]:
    """Slices of AT_ONCE votes of n."""
    yield from (slice(a, a + AT_ONCE) for a in range(0, n, AT_ONCE))


def by_item(item: np.ndarray) -> Iterator[slice]:
    """Rows of some items after others, about AT_ONCE at a time; `item`: (votes,) ascending."""
    cuts = np.searchsorted(item, item[AT_ONCE::AT_ONCE])
    yield from (slice(a, b) for a, b in pairwise(np.unique(np.r_[0, cuts, len(item)]).tolist()))


def by_annotator(who: np.ndarray, order: np.ndarray, n: int) -> Iterator[tuple[slice, np.ndarray]]:
    """(some annotators after others, rows of their votes), about AT_ONCE votes and at most PEOPLE_AT_ONCE annotators at a
    time, from the rows `order` by annotator."""
    ends = np.r_[0, np.cumsum(sums(who, None, n))]
    cuts = np.searchsorted(ends, np.arange(AT_ONCE, ends[-1], AT_ONCE))
    for first, last in pairwise(np.unique(np.r_[0, cuts, np.arange(0, n, PEOPLE_AT_ONCE), n]).tolist()):
        yield slice(first, last), order[ends[first] : ends[last]]


@dataclass(frozen=True)
class Ballots:
    """Votes sorted by item, then annotator; one vote of an annotator on an item.

    `who`, `item`: (votes,) int32 codes; `choice`: (votes,) int8, 1 where response a is preferred. `known`: (items,)
    int8 golden answers, −1 where there is none. The rest, (votes,), is None where no vote has it: `first` (1: a was
    shown first), `longer` (1: a is longer), `formatted` (1: a has more formatting) and `confirms` (1: a alone agrees with
    what the prompt asserts), −1 where unknown; `topic` int16 or int32, −1 unknown; `time` int32 or int64
    seconds, −1 unknown; `confidence` float32, NaN unknown. `undecided`: (annotators,) answers that chose neither; they are no votes.
    """

    who: np.ndarray
    item: np.ndarray
    choice: np.ndarray
    known: np.ndarray
    n_annotators: int
    first: np.ndarray | None = None
    longer: np.ndarray | None = None
    formatted: np.ndarray | None = None
    confirms: np.ndarray | None = None
    topic: np.ndarray | None = None
    time: np.ndarray | None = None
    confidence: np.ndarray | None = None
    undecided: np.ndarray | None = None

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.known)

    @property
    def cues(self) -> dict[str, np.ndarray | None]:
        """What an answer may follow instead of the item: the choice each cue suggests; None: always a."""
        given = {
            "position": self.first,
            "length": self.longer,
            "formatting": self.formatted,
            "confirmation": self.confirms,
        }
        return {name: cue for name, cue in given.items() if cue is not None} | {"constant": None}

    @cached_property
    def starts(self) -> np.ndarray:
        """(items,) first row of every item."""
        return np.searchsorted(self.item, np.arange(self.n_items, dtype=self.item.dtype))

    @property
    def votes_of_items(self) -> np.ndarray:
        """(items,) number of votes."""
        return np.diff(self.starts, append=len(self.item))

    @property
    def ones_of_items(self) -> np.ndarray:
        """(items,) number of votes for response a."""
        ones, voted = np.zeros(self.n_items, dtype=np.int64), self.votes_of_items > 0
        ones[voted] = np.add.reduceat(self.choice, self.starts[voted], dtype=np.int64)
        return ones

    def per_annotator(self, weights: np.ndarray | None = None) -> np.ndarray:
        """(annotators,) number of votes, or the sum of `weights` over them."""
        return sums(self.who, weights, self.n_annotators)

    @cached_property
    def on_golden(self) -> np.ndarray:
        """(votes,) bool: the item's answer is known."""
        return self.known[self.item] != UNKNOWN

    @cached_property
    def in_time(self) -> np.ndarray:
        """(votes,) rows by annotator, then time, then as they stand."""
        assert self.time is not None
        span = int(self.time.max(initial=0)) + 2
        key = self.who * np.int64(span)
        key += self.time
        key += 1
        return ordered(key, self.n_annotators * span)

    def only(self, kept: np.ndarray) -> "Ballots":
        """The votes in `kept`, (votes,) bool, without topic and confidence; items and annotators keep their codes."""
        columns = ("who", "item", "choice", "first", "longer", "formatted", "confirms", "time")
        given: dict[str, Any] = {name: getattr(self, name) for name in columns}
        chosen: dict[str, Any] = {name: None if v is None else v[kept] for name, v in given.items()}
        rest = replace(self, **chosen, topic=None, confidence=None)
        if self.time is not None:  # the order stays, and sorting is dear
            row = np.cumsum(kept, dtype=np.int32) - 1
            rest.__dict__["in_time"] = row[self.in_time[kept[self.in_time]]]
        return rest
