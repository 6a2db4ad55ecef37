"""Stage `ingest`: files as they come, into tables with one schema, a digest, pseudonyms, and a side per prompt.

Everything is read, changed and written some ten thousand rows at a time; the tables get their names when all of them
are whole.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType

import polars as pl

from governance.digest import write_json
from governance.errors import BadInput
from tasks import panel, paths, pseudonyms, suppression, votes
from tasks.demographics import read_people
from tasks.formats import DEMONSTRATIONS, PREFERENCES, demonstration_chunks, preference_chunks
from tasks.params import Ingest
from tasks.progress import Advance, bar
from tasks.reading import size
from tasks.round_votes import read_round
from tasks.splits import SIDES, side_of, split_keys
from tasks.stage import Stage, run_stage
from tasks.tables import DERIVED_DEMONSTRATION, ContentDigest, Schema, TableWriter, write_table

SIDED: Schema = {"side": pl.String}
SIMULATED_PANEL = "simulated panel"


class Output:
    """A table of `data/interim/ingested` that grows by chunks, and what is told of it."""

    def __init__(self, name: str, schema: Schema, source: str | None) -> None:
        self.name, self.source, self.left_out, self.of_rounds = name, source, 0, 0
        self.path = paths.INGESTED / f"{name}.parquet"
        self._schema = schema
        self._writer = TableWriter(self.path, schema)
        self._digest = ContentDigest()

    def __enter__(self) -> "Output":
        self._writer.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._writer.__exit__(kind, error, at)

    def write(self, frame: pl.DataFrame) -> None:
        """Append rows."""
        self._writer.write(frame)
        self._digest.update(frame)

    def facts(self) -> dict[str, object]:
        """What records and datasheets say of the table."""
        left_out = f"{self.left_out} rows whose label is not a choice between two" if self.left_out else None
        return {
            "path": self.path.as_posix(),
            "rows": self._writer.rows,
            "content_sha256": self._digest.hexdigest(),
            "columns": {name: str(kind) for name, kind in self._schema.items()},
            "source": self.source,
            "left_out": left_out,
            "of_rounds": self.of_rounds,  # rows that no file of `source` holds
        }


def body(stage: Stage) -> None:
    """Read every input that params.yaml names and write `data/interim/ingested`."""
    settings = stage.params.ingest
    if settings.golden and not settings.votes:
        raise BadInput("params.yaml: ingest.golden is given without ingest.votes; golden items are judged by votes.")
    secret, gone = pseudonyms.key(), suppression.erased()
    tables = _tables(settings)
    with ExitStack() as stack, bar(sum(size(s) for s in settings.sources()), "ingest", "B") as progress:
        for table in tables.values():
            stack.enter_context(table)
        sides = _preferences(tables, settings, stage.seed, secret, gone, progress.update)
        if settings.demonstrations:
            rename = partial(pseudonyms.pseudonym, key_bytes=secret)
            for chunk in demonstration_chunks(settings.demonstrations, progress.update, rename):
                kept = suppression.without(chunk, "author_id", gone)
                tables["demonstrations"].write(kept.with_columns(side=pl.lit("sft")))
        if settings.votes:
            _votes(tables, "", settings.golden, secret, gone, progress.update)
        people = _people(settings.annotators, secret, gone, progress.update)
        for name, audit in settings.audits.items():
            _votes(tables, f"audits/{name}/", audit.golden, secret, gone, progress.update)
    write_table(people, paths.PEOPLE)
    stage.output_table(paths.PEOPLE)
    _tell(stage, tables, {side: sides[side] for side in SIDES})


def _tables(settings: Ingest) -> dict[str, Output]:
    simulated = None if settings.votes or settings.panel is None else SIMULATED_PANEL
    found = [
        Output("preferences", PREFERENCES | SIDED, settings.preferences),
        Output("demonstrations", DEMONSTRATIONS | SIDED, settings.demonstrations),
        Output("votes", votes.VOTES, settings.votes or simulated),
        Output("golden", votes.GOLDEN, settings.golden or settings.votes or simulated),
    ]
    for name, audit in settings.audits.items():
        found.append(Output(f"audits/{name}/votes", votes.VOTES, audit.votes))
        if audit.golden:
            found.append(Output(f"audits/{name}/golden", votes.GOLDEN, audit.golden))
    return {table.name: table for table in found}


def _preferences(
    tables: dict[str, Output], settings: Ingest, seed: int, secret: bytes, gone: frozenset[str], advance: Advance
) -> Counter[str]:
    """Write the pairs, and what follows from them where it is not given: demonstrations and votes. Rows of each side."""
    sides: Counter[str] = Counter()
    for every, cast in _labelled(settings, secret, gone, advance):
        sided = [side_of(key, settings.shares) for key in split_keys(every["prompt"])]
        chunk = every.with_columns(pl.Series("side", sided, dtype=pl.String))
        tables["preferences"].write(chunk)
        sides.update(sided)
        if not settings.demonstrations:
            tables["demonstrations"].write(_derived_demonstrations(chunk))
        if cast is not None:
            tables["votes"].write(cast)
            tables["votes"].of_rounds += cast.height
        elif not settings.votes and settings.panel:
            simulated, golden = panel.simulate(chunk, settings.panel, seed)
            tables["votes"].write(simulated)
            tables["golden"].write(golden)
    return sides


def _labelled(
    settings: Ingest, secret: bytes, gone: frozenset[str], advance: Advance
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame | None]]:
    """(pairs, their votes where a file of pairs says who labelled them), of the preferences and of each round."""
    rename = partial(pseudonyms.pseudonym, key_bytes=secret)
    for chunk in preference_chunks(settings.preferences, advance, rename):
        yield suppression.without(chunk, "annotator_id", gone), None
    for file in paths.rounds():
        pairs, cast, others = read_round(str(file), secret, gone, advance)
        if pairs.height:
            yield pairs, cast
        if others.height:
            yield others, None


def _derived_demonstrations(preferences: pl.DataFrame) -> pl.DataFrame:
    """The chosen answers of the `sft` side, of a ranking the best one."""
    best = pl.col("rejected_rank").is_null() | ((pl.col("chosen_rank") == 0) & (pl.col("rejected_rank") == 1))
    return preferences.filter((pl.col("side") == "sft") & best).select(
        (DERIVED_DEMONSTRATION + pl.col("id")).alias("id"),
        pl.concat_list("prompt", "chosen").alias("messages"),
        "source",
        pl.lit(None, dtype=pl.String).alias("author_id"),
        "side",
    )


def _people(source: str | None, secret: bytes, gone: frozenset[str], advance: Advance) -> pl.DataFrame:
    """What the vendor says of annotators, by pseudonym; no rows where nothing is given."""
    if source is None:
        return pl.DataFrame(schema={"annotator_id": pl.String})
    named = pseudonyms.pseudonymise(read_people(source, advance), "annotator_id", secret)
    return suppression.without(named, "annotator_id", gone)


def _votes(
    tables: dict[str, Output],
    where: str,
    golden: str | None,
    secret: bytes,
    gone: frozenset[str],
    advance: Advance,
) -> None:
    """Votes and, where given, golden items of the tables `<where>votes` and `<where>golden`."""
    table = tables[f"{where}votes"]
    assert table.source
    cast, people, items = 0, set[str](), set[str]()
    for chunk, left_out in votes.vote_chunks(table.source, advance):
        named = pseudonyms.pseudonymise(chunk, "annotator_id", secret)
        table.write(suppression.without(named, "annotator_id", gone))
        table.left_out += left_out
        cast += chunk.height
        people.update(chunk["annotator_id"].unique().to_list())
        if golden:
            items.update(chunk["item_id"].unique().to_list())
    votes.refuse_incomparable(cast, people, table.source)
    if golden:
        found = votes.read_golden(golden, advance)
        votes.refuse_foreign_golden(found, items, golden, table.source)
        tables[f"{where}golden"].write(found)


def _tell(stage: Stage, tables: dict[str, Output], sides: dict[str, int]) -> None:
    for source in stage.params.ingest.sources():
        if Path(source).exists():
            stage.input_table(Path(source), "raw")
    for table in tables.values():
        stage.output_table(table.path)
    stage.notes["tables"] = {table.name: table.facts() for table in tables.values()}
    stage.log_metrics({f"rows/{side}": float(n) for side, n in sides.items()})
    write_json(stage.report / "summary.json", {"tables": stage.notes["tables"], "sides": sides})


if __name__ == "__main__":
    run_stage("ingest", body)
