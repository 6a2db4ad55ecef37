"""Votes as arrays: what the annotator statistics work on. Integer codes instead of names, grouped by item."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

UNKNOWN = -1


@dataclass(frozen=True)
class Ballots:
    """Votes sorted by item, then annotator; one vote of an annotator on an item.

    `who`, `item`: (votes,) int32 codes; `choice`: (votes,) int8, 1 where response a is preferred. `known`: (items,)
    int8 golden answers, −1 where there is none. The rest, (votes,), is None where no vote has it: `first` (1: a was
    shown first), `longer` (1: a is longer), `formatted` (1: a has more formatting) and `confirms` (1: a alone agrees with
    what the prompt asserts), −1 where unknown; `topic` int32, −1 unknown; `time` int64 seconds,
    −1 unknown; `confidence` float32, NaN unknown. `undecided`: (annotators,) answers that chose neither; they are no votes.
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

    def per_annotator(self, weights: np.ndarray | None = None) -> np.ndarray:
        """(annotators,) number of votes, or the sum of `weights` over them."""
        return np.bincount(self.who, weights=weights, minlength=self.n_annotators)

    @cached_property
    def on_golden(self) -> np.ndarray:
        """(votes,) bool: the item's answer is known."""
        return self.known[self.item] != UNKNOWN

    @cached_property
    def in_time(self) -> np.ndarray:
        """(votes,) rows by annotator, then time, then as they stand."""
        assert self.time is not None
        span = int(self.time.max(initial=0)) + 2
        return np.argsort(self.who * np.int64(span) + self.time + 1, kind="stable").astype(np.int32)

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
