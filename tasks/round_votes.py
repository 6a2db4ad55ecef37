"""Labels of a round that name who gave them: of each pair one row, and of each rater one vote on it.

So the checks judge who labelled the policy's answers as they judge every annotator, and a pair counts as much as its votes say,
however many raters it had.
"""

from functools import partial

import polars as pl

from tasks import pseudonyms, suppression, votes
from tasks.formats import preference_chunks
from tasks.progress import Advance
from tasks.rankings import RANKED
from tasks.reading import read_rows

PAIR = r"^(?<item>.*):(?<best>\d+)-(?<other>\d+)$"  # what ids of a ranking's pairs are made of (`tasks.formats`)
NAMED = pl.col("annotator_id").is_not_null() & pl.col("criterion").is_null() & pl.col("ranking_id").is_not_null()


def read_round(
    file: str, secret: bytes, gone: frozenset[str], advance: Advance
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """(pairs that raters labelled, their votes, rows that name no rater), the first two with the same ids of items.

    A pair's row is the first rater's who says what most say, and of a tie the first one's; its votes say how surely. A ranking of more
    answers comes apart into its pairs. Columns are those of `tasks.formats.PREFERENCES` and `tasks.votes.VOTES`; people have
    pseudonyms, and who is `gone` is left out.
    """
    rename = partial(pseudonyms.pseudonym, key_bytes=secret)
    every = pl.concat(preference_chunks(file, advance, rename))
    labels = suppression.without(every, "annotator_id", gone)
    pairs = _pairs(labels.filter(NAMED))
    cast = suppression.without(_votes(file, secret), "annotator_id", gone)
    known = pairs.select("a_is_chosen", item_id="id")
    cast = cast.drop("a_is_chosen").join(known, on="item_id", how="inner", maintain_order="left")
    return pairs.select(labels.columns), cast.select(list(votes.VOTES)), labels.filter(~NAMED)


def _pairs(labels: pl.DataFrame) -> pl.DataFrame:
    """A row a pair, under the id that votes give it, with `a_is_chosen`."""
    suffix = pl.concat_str(pl.lit(":"), "annotator_id")
    rows = labels.with_columns(parts=pl.col("id").str.strip_suffix(suffix).str.extract_groups(PAIR)).unnest("parts")
    best, other = (pl.col(name).cast(pl.Int64) for name in ("best", "other"))
    ends = (pl.min_horizontal(best, other), pl.max_horizontal(best, other))
    rows = rows.with_columns(
        pl.format("{}:{}-{}", "item", *ends).alias("id"),
        *(pl.lit(None, dtype=kind).alias(name) for name, kind in RANKED.items()),
        a_is_chosen=best < other,
    )
    share = pl.col("a_is_chosen").mean().over("id")
    said_by_most = (share == 0.5) | (pl.col("a_is_chosen") == (share > 0.5))
    return rows.filter(said_by_most).unique("id", keep="first", maintain_order=True)


def _votes(file: str, secret: bytes) -> pl.DataFrame:
    """What each row with a rater says of its pairs."""
    rows = [
        (place, raw | {"item_id": raw.get("item_id") or raw.get("id")})
        for place, raw in read_rows(file)
        if raw.get("annotator_id") and raw.get("ranking") and not raw.get("criterion")
    ]
    cast, _ = votes.votes_of_rows(rows)
    named = pseudonyms.pseudonymise(cast, "annotator_id", secret)
    return named.with_columns(simulated=pl.col("annotator_id").str.starts_with(pseudonyms.SIMULATED))
