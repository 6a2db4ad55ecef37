"""Votes as arrays: codes for names, one vote of an annotator on an item, in the order that the statistics want.

Votes come in chunks and are held as codes at once: as text, a million of them would take more memory than all that is
done to them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from tasks import keys
from tasks.comparisons import TIE
from tasks.stats.ballots import UNKNOWN, Ballots, ordered, sort
from tasks.stats.in_order import ahead

TIMES = ("%Y-%m-%dT%H:%M:%SZ", "%+", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f")
FLAGS = {  # of `Ballots`, and the columns that tell them
    "first": ("a_first", "a_first"),
    "longer": ("len_a", "len_b"),
    "formatted": ("format_a", "format_b"),
    "confirms": ("confirms_a", "confirms_b"),
}
OPTIONAL = (*FLAGS, "topic", "time", "confidence")  # columns of `Ballots` that votes may lack


@dataclass(frozen=True)
class Poll:
    """Votes as arrays, with the names behind their codes (of items, those of golden ones alone); `repeated`: votes left out because the annotator had voted on
    the item before, `contradicted`: those of them that say otherwise; `undated`: times that cannot be read; `ties`: of
    the answers that chose neither; `simulated`:
    (annotators,) whether any vote of theirs is."""

    ballots: Ballots
    annotators: pl.Series
    golden: dict[int, str]
    topics: list[str]
    repeated: int
    contradicted: int
    undated: int
    ties: int
    simulated: np.ndarray


def poll(chunks: Iterable[pl.DataFrame], golden: pl.DataFrame | None) -> Poll:
    """Codes for names, sorted by item and annotator; the first vote of an annotator on an item counts.

    `chunks`: frames with the columns of `tasks.votes.VOTES`, of which optional ones may lack.
    """
    who, topic = _Names(), _Names(narrow=True)
    parts: dict[str, list[np.ndarray]] = {
        name: [] for name in ("item", "choice", *FLAGS, "time", "confidence", "simulated")
    }
    undated = ties = 0
    for chunk in ahead(chunks):
        names = set(chunk.columns)
        who.add(chunk["annotator_id"])
        parts["item"].append(keys.of_text(chunk["item_id"].cast(pl.String)))
        topic.add(chunk["topic"] if "topic" in names else pl.repeat(None, chunk.height, dtype=pl.String, eager=True))
        parts["choice"].append(chunk["choice"].cast(pl.Int8).fill_null(UNKNOWN).to_numpy())
        for name, flags in _flags(chunk).items():
            parts[name].append(flags)
        if "undecided" in names:
            ties += int((chunk["undecided"] == TIE).sum())
        seconds, unread = _seconds(chunk["created_at"]) if "created_at" in names else (None, 0)
        undated += unread
        parts["time"].append(_same(UNKNOWN, np.int32, chunk.height) if seconds is None else _narrow(seconds))
        stated = chunk["confidence"] if "confidence" in names else None
        parts["confidence"].append(
            _same(np.nan, np.float32, chunk.height)
            if stated is None
            else stated.cast(pl.Float32).fill_null(np.nan).to_numpy()
        )
        parts["simulated"].append(
            chunk["simulated"].fill_null(False).to_numpy() if "simulated" in names else _same(0, np.bool_, chunk.height)
        )
    columns: dict[str, np.ndarray] = {}
    columns["who"], annotators = who.codes()
    columns["topic"], topics = topic.codes()
    marked = np.zeros(len(annotators), dtype=bool)
    if simulated := parts.pop("simulated"):
        marked[columns["who"][np.concatenate(simulated)]] = True
    for name in list(parts):
        found = parts.pop(name)
        if name not in OPTIONAL or any(map(_known_somewhere, found)):
            columns[name] = np.concatenate(found) if found else np.zeros(0, dtype=np.int8)
        del found
    undecided = columns["choice"] == UNKNOWN
    chose_neither = np.bincount(columns["who"][undecided], minlength=len(annotators)) if undecided.any() else None
    if chose_neither is not None:
        for name in list(columns):
            columns[name] = columns[name][~undecided]
    items, columns["item"] = _codes(columns.pop("item"))
    order, repeated, contradicted = _order(columns, len(items), max(1, len(annotators)))
    for name in list(columns):
        columns[name] = columns[name][order]
    del order
    pa.system_memory_pool().release_unused()  # the parts are where the columns came from
    given = {name: columns[name] for name in OPTIONAL if name in columns and _known_somewhere(columns[name])}
    known, names_of_golden = _known(items, golden)
    ballots = Ballots(
        columns["who"], columns["item"], columns["choice"], known, len(annotators), undecided=chose_neither, **given
    )
    return Poll(ballots, annotators, names_of_golden, topics.to_list(), repeated, contradicted, undated, ties, marked)


class _Names:
    """A column of names as codes by first appearance; chunks keep their own until all of them are there. Codes are int32,
    or, if `narrow`, int16 where they fit."""

    def __init__(self, *, narrow: bool = False) -> None:
        self._chunks: list[pa.DictionaryArray] = []
        self._narrow = narrow

    def add(self, column: pl.Series) -> None:
        """The names of a chunk."""
        self._chunks.append(column.cast(pl.String).to_arrow(compat_level=pl.CompatLevel.oldest()).dictionary_encode())

    def codes(self) -> tuple[np.ndarray, pl.Series]:
        """((rows,) codes, −1 for null; (names,) what they stand for)."""
        if not self._chunks:
            return np.zeros(0, dtype=np.int32), pl.Series([], dtype=pl.String)
        one = pa.chunked_array(self._chunks).unify_dictionaries()
        self._chunks.clear()
        names = pl.Series(values=pl.from_arrow(one.chunk(0).dictionary), dtype=pl.String)
        kind = np.int16 if len(names) < np.iinfo(np.int16).max and self._narrow else np.int32
        codes, filled = np.empty(len(one), dtype=kind), 0
        for chunk in one.chunks:
            part = pl.Series(values=pl.from_arrow(chunk.indices)).fill_null(UNKNOWN).to_numpy()
            codes[filled : filled + len(part)] = part
            filled += len(part)
        return codes, names


def _codes(found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((names,) keys, ascending; (rows,) int32 place of each row's key among them)."""
    bits = np.uint64(len(found).bit_length())
    packed = found >> bits << bits  # with the row in place of the last bits, which nearly never decide
    packed |= np.arange(len(found), dtype=np.uint64)
    sort(packed)
    order = (packed & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int32)
    del packed
    ascending = found[order]
    if (ascending[1:] < ascending[:-1]).any():
        order = np.argsort(found).astype(np.int32)
        ascending = found[order]
    new = np.append(True, ascending[1:] != ascending[:-1])[: len(found)]
    code = np.empty(len(found), dtype=np.int32)
    code[order] = np.cumsum(new, dtype=np.int32) - 1
    return ascending[new], code


def _order(columns: dict[str, np.ndarray], n_items: int, n_annotators: int) -> tuple[np.ndarray, int, int]:
    """(rows that count, by item and annotator; how many do not; how many of these contradict one that does)."""
    key = columns["item"] * np.int64(n_annotators)
    key += columns["who"]
    order = ordered(key, n_items * n_annotators)
    again = np.append(False, key[1:] == key[:-1])[: len(key)]
    del key
    if not again.any():
        return order, 0, 0
    choice = columns["choice"][order]
    first = np.maximum.accumulate(np.where(again, np.int32(0), np.arange(len(order), dtype=np.int32)))
    contradicted = int((choice != choice[first])[again].sum())
    return order[~again], int(again.sum()), contradicted


def _known_somewhere(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).any() if values.dtype.kind == "f" else (values != UNKNOWN).any())


def _flags(chunk: pl.DataFrame) -> dict[str, np.ndarray]:
    """Each of FLAGS, (rows,) int8: 1, 0, or −1 where unknown; all of them in one query."""
    given = {
        name: pl.col(one) if one == other else _more(one, other)
        for name, (one, other) in FLAGS.items()
        if {one, other} <= set(chunk.columns)
    }
    told = chunk.select(of.cast(pl.Int8).fill_null(UNKNOWN).alias(name) for name, of in given.items())
    return {name: told[name].to_numpy() if name in given else _same(UNKNOWN, np.int8, chunk.height) for name in FLAGS}


def _same(value: float, kind: type[np.generic], rows: int) -> np.ndarray:
    """One value for all rows, which takes no memory."""
    return np.broadcast_to(np.array(value, dtype=kind), rows)


def _narrow(seconds: np.ndarray) -> np.ndarray:
    """As int32, if they fit: times from 1970 to 2038."""
    limits = np.iinfo(np.int32)
    fit = len(seconds) == 0 or (seconds.min() >= limits.min and seconds.max() <= limits.max)
    return seconds.astype(np.int32) if fit else seconds


def _more(one: str, other: str) -> pl.Expr:
    """1 where `one` is more, 0 where `other` is, null where they are equal or unknown."""
    return pl.when(pl.col(one) != pl.col(other)).then(pl.col(one) > pl.col(other))


def _seconds(column: pl.Series) -> tuple[np.ndarray, int]:
    """((votes,) seconds since 1970, −1 unknown; number of times that cannot be read)."""
    column = column.cast(pl.String)
    parsed = column.str.to_datetime(TIMES[0], strict=False).dt.epoch("s")
    for form in TIMES[1:]:
        if parsed.null_count() == column.null_count():
            break
        missing = parsed.is_null() & column.is_not_null()
        rest = column.filter(missing).str.to_datetime(form, strict=False)
        parsed = parsed.scatter(missing.arg_true(), rest.dt.epoch("s"))
    if parsed.null_count() > column.null_count():
        missing = parsed.is_null() & column.is_not_null()
        parsed = parsed.scatter(missing.arg_true(), _since_1970(column.filter(missing)))
    return parsed.fill_null(UNKNOWN).to_numpy(), parsed.null_count() - column.null_count()


def _since_1970(column: pl.Series) -> pl.Series:
    """Seconds of times that are written as a number of seconds (nine or ten digits) or milliseconds; null of others."""
    digits = pl.col("time").str.extract(r"^(\d{9,13})(?:\.\d+)?$").cast(pl.Int64)
    seconds = pl.when(digits < 10**11).then(digits).otherwise(digits // 1000)
    return column.to_frame("time").select(seconds.alias("time"))["time"]


def _known(items: keys.Keys, golden: pl.DataFrame | None) -> tuple[np.ndarray, dict[int, str]]:
    """((items,) golden answers, −1 where there is none; names of golden items by code)."""
    answers = np.full(len(items), UNKNOWN, dtype=np.int8)
    if golden is None or golden.height == 0 or len(items) == 0:
        return answers, {}
    given = golden.unique("item_id", keep="first", maintain_order=True)
    wanted = keys.of_text(given["item_id"])
    among = np.flatnonzero(keys.among(wanted, items))
    code = np.searchsorted(items, wanted[among])
    answers[code] = given["gold_choice"].cast(pl.Int8).to_numpy()[among]
    return answers, dict(zip(code.tolist(), given["item_id"].gather(among).to_list(), strict=True))
