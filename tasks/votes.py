"""Votes of several annotators on items, and golden items, from vendors' files into the project's tables.

`choice` is 1 where response a is preferred, and null where `undecided` says why there is none: "tie" or "can't say".
`format_a`, `format_b` count marks of formatting; `confirms_a`, `confirms_b` tell whether a response agrees with what
the prompt asserts.
"""

from collections.abc import Callable, Collection, Iterator
from functools import cache
from itertools import islice
from pathlib import Path

import polars as pl

from governance.errors import BadInput
from tasks.comparisons import CANNOT_SAY, KINDS, TIE, reduced
from tasks.progress import Advance, nobody
from tasks.reading import Row, kind, number, parquet_batches, read_rows, text
from tasks.stats.in_order import ahead
from tasks.tables import CHUNK, Schema, frame_of

VOTES: Schema = {
    "item_id": pl.String,
    "annotator_id": pl.String,
    "choice": pl.Int8,
    "a_first": pl.Boolean,
    "len_a": pl.Int64,
    "len_b": pl.Int64,
    "topic": pl.String,
    "created_at": pl.String,
    "confidence": pl.Float64,
    "a_is_chosen": pl.Boolean,
    "simulated": pl.Boolean,
    "undecided": pl.String,
    "format_a": pl.Int64,
    "format_b": pl.Int64,
    "confirms_a": pl.Boolean,
    "confirms_b": pl.Boolean,
}
GOLDEN: Schema = {"item_id": pl.String, "gold_choice": pl.Int8, "simulated": pl.Boolean}
BATCH = 20_000  # votes of a Parquet file in memory at once
NEEDED = ("item_id", "annotator_id", "choice")
ALIASES = {"label": "choice", "winner": "choice", "gold": "gold_choice", "submitted_at": "created_at"} | {
    "worker_id": "annotator_id"
}
DEFAULTS = {"simulated": False, "a_is_chosen": True}
YES_NO = {"1": 1, "0": 0, "1.0": 1, "0.0": 0, "yes": 1, "no": 0, "true": 1, "false": 0, "a": 1, "b": 0}
YES_NO |= {f"{what}_{side}": YES_NO[side] for what in ("response", "answer", "model") for side in "ab"}
UNDECIDED = dict.fromkeys(("tie", "0.5", ".5", "equal", "same", "both", "draw", "tie (bothbad)"), TIE) | dict.fromkeys(
    ("can't say", "can’t say", "cannot say", "unsure", "don't know", "not sure", "neither", "skip", "n/a"), CANNOT_SAY
)


def read_votes(source: str) -> tuple[pl.DataFrame, int]:
    """(votes, number of left-out rows). Rows whose label is a list of several answers are not votes on a pair."""
    chunks = list(vote_chunks(source))
    votes = pl.concat([chunk for chunk, _ in chunks])
    refuse_incomparable(votes.height, votes["annotator_id"].unique().to_list(), source)
    return votes, sum(left_out for _, left_out in chunks)


def vote_chunks(source: str, advance: Advance = nobody) -> Iterator[tuple[pl.DataFrame, int]]:
    """What `read_votes` gives, some ten thousand rows at a time."""
    votes = 0
    batches = _parquet_batches if Path(source).is_file() and kind(source) == "parquet" else _row_batches
    for kept, left_out in batches(source, advance):
        votes += kept.height - kept["choice"].null_count()
        yield kept, left_out
    if not votes:
        raise BadInput(f"{source}: has no votes with a choice between two; expected 0 or 1 in choice.")


def refuse_incomparable(votes: int, annotators: Collection[str], source: str) -> None:
    """Raise BadInput if all votes are one annotator's: nobody can be judged without somebody to compare with."""
    if len(annotators) == 1:
        raise BadInput(
            f"{source}: all {votes} votes are by one annotator, so there is nobody to compare with; give the votes of "
            "two annotators or more."
        )


def read_golden(source: str, advance: Advance = nobody) -> pl.DataFrame:
    """Golden items."""
    rows = []
    for place, raw in read_rows(source, advance):
        row = _named(raw, place, ("item_id", "gold_choice"))
        choice = _choice(row, "gold_choice", place)
        rows.append({"item_id": text(row, "item_id", place), "gold_choice": choice, "simulated": False})
    return frame_of(rows, GOLDEN)


def refuse_foreign_golden(golden: pl.DataFrame, voted: Collection[str], source: str, votes: str) -> None:
    """Raise BadInput if no golden item is among the items `voted` on."""
    if golden.height and not any(item in voted for item in golden["item_id"]):
        raise BadInput(
            f"{source}: none of its {golden.height} golden items (item_id {golden['item_id'][0]!r}, …) is among the "
            f"items of {votes}; the two files must name items alike."
        )


def _row_batches(source: str, advance: Advance) -> Iterator[tuple[pl.DataFrame, int]]:
    rows = read_rows(source, advance)
    while some := list(islice(rows, CHUNK)):
        yield votes_of_rows(some)


def _parquet_batches(source: str, advance: Advance) -> Iterator[tuple[pl.DataFrame, int]]:
    """Batches with the right column types are taken as they are, others row by row."""
    done = 0
    for batch in ahead(parquet_batches(Path(source), advance, BATCH)):
        whole = _at_once(pl.DataFrame(pl.from_arrow(batch)))
        if whole is not None:
            yield whole, 0
        else:
            yield votes_of_rows(
                [(f"{source}: row {n}", row) for n, row in enumerate(batch.to_pylist(), start=done + 1)]
            )
        done += batch.num_rows
    if not done:
        raise BadInput(f"{source}: has no rows; it must hold at least one.")


def votes_of_rows(rows: list[tuple[str, Row]]) -> tuple[pl.DataFrame, int]:
    """(votes that (place, row) pairs say, number of rows that say none)."""
    kept = [_votes_of(raw, place) for place, raw in rows]
    return frame_of([vote for votes in kept for vote in votes], VOTES), sum(not votes for votes in kept)


def _at_once(frame: pl.DataFrame) -> pl.DataFrame | None:
    """The batch as votes, or None if a value has to be looked at."""
    frame = frame.rename({k: v for k, v in ALIASES.items() if k in frame.columns and v not in frame.columns})
    kinds = frame.schema
    wrong = [c for c in NEEDED if c not in kinds] or {"task", *KINDS} & set(kinds)
    if wrong or any(not _fits(kinds[name], kind) for name, kind in VOTES.items() if name in kinds):
        return None
    given = pl.all_horizontal(pl.col(n).is_not_null() & (pl.col(n).cast(pl.String) != "") for n in NEEDED[:2])
    if not frame.select((given & pl.col("choice").is_between(0, 1)).fill_null(False).all()).item():
        return None
    return frame.select(_columns(frozenset(VOTES.keys() & kinds.keys())))


@cache
def _columns(given: frozenset[str]) -> list[pl.Expr]:
    """Those of VOTES, from a table with the columns `given`."""
    return [
        pl.coalesce(pl.col(name).cast(kind) if name in given else None, pl.lit(DEFAULTS.get(name), dtype=kind)).alias(
            name
        )
        for name, kind in VOTES.items()
    ]


def _fits(found: pl.DataType, wanted: pl.DataType | type[pl.DataType]) -> bool:
    if wanted == pl.String:
        return found == pl.String or found.is_integer()
    return found == wanted or (found.is_integer() and wanted in (pl.Int8, pl.Int64))


def _votes_of(raw: Row, place: str) -> list[Row]:
    """The votes of a row; none if its label is a list of answers."""
    several = [name for name in (*KINDS, "undecided") if raw.get(name) not in (None, "")]
    row = _named(raw, place, NEEDED[: 2 if several else 3])
    if str(row.get("choice")).startswith("["):
        return []
    return [_vote(one, place) for one in (reduced(row, place) if several else [row])]


def _vote(row: Row, place: str) -> Row:
    vote = {name: take(row, name, place) for name, take in FIELDS.items()}
    word = str(row.get("choice")).strip().lower()
    vote["undecided"] = UNDECIDED.get(word) or _undecided(row, place)
    if task := text(row, "task", place):  # one vendor file, several tasks: an item is asked about more than once
        vote |= {"item_id": f"{task}:{vote['item_id']}", "topic": vote["topic"] or task}
    return vote


def _named(raw: Row, place: str, needed: tuple[str, ...]) -> Row:
    row = {(ALIASES.get(k, k) if ALIASES.get(k) not in raw else k): v for k, v in raw.items()}
    for name in needed:
        if row.get(name) in (None, ""):
            raise BadInput(
                f"{place}: has no {name} (fields: {', '.join(sorted(map(str, raw)))}); a row needs {', '.join(needed)}: "
                "rename the columns."
            )
    return row


def _undecided(row: Row, place: str) -> str | None:
    found = text(row, "undecided", place)
    if found not in (None, TIE, CANNOT_SAY):
        raise BadInput(f"{place}: field undecided: {found[:40]!r} is not {TIE!r} or {CANNOT_SAY!r}.")
    return found


def _decided(row: Row, name: str, place: str) -> int | None:
    """The choice, or None for a tie or who can't say."""
    no_choice = row.get(name) in (None, "") or str(row[name]).strip().lower() in UNDECIDED
    return None if no_choice else _choice(row, name, place)


def _choice(row: Row, name: str, place: str) -> int:
    found = str(row[name]).strip().lower().replace(" ", "_")
    if found not in YES_NO:
        raise BadInput(
            f"{place}: field {name}: {str(row[name])[:40]!r} is not 0 or 1; write 1 for yes, or where response a is "
            "preferred, and 0 for the other."
        )
    return YES_NO[found]


def _truth(row: Row, name: str, place: str) -> bool | None:
    return DEFAULTS.get(name) if row.get(name) in (None, "") else bool(_choice(row, name, place))


def _whole(row: Row, name: str, place: str) -> int | None:
    found = number(row, name, place)
    if found is not None and not (found.is_integer() and abs(found) < 2**53):
        raise BadInput(f"{place}: field {name}: {str(row[name])[:40]!r} is not a whole number.")
    return None if found is None else int(found)


FIELDS: dict[str, Callable[[Row, str, str], object]] = {
    "item_id": text,
    "annotator_id": text,
    "choice": _decided,
    "a_first": _truth,
    "len_a": _whole,
    "len_b": _whole,
    "topic": text,
    "created_at": text,
    "confidence": number,
    "a_is_chosen": _truth,
    "simulated": _truth,
    "format_a": _whole,
    "format_b": _whole,
    "confirms_a": _truth,
    "confirms_b": _truth,
}
