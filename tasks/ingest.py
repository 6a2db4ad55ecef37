"""Stage `ingest`: files as they come, into tables with one schema, a digest, pseudonyms, and a side per prompt."""

from pathlib import Path
from typing import Any

import polars as pl

from governance.digest import write_json
from governance.errors import BadInput
from tasks import panel, paths, pseudonyms, votes
from tasks.formats import DEMONSTRATIONS, read_demonstrations, read_preferences
from tasks.progress import bar
from tasks.splits import SIDES, side_of, split_key
from tasks.stage import Stage, run_stage
from tasks.tables import DERIVED_DEMONSTRATION, content_sha256, write_table


def body(stage: Stage) -> None:
    """Read every input that params.yaml names and write `data/interim/ingested`."""
    settings = stage.params.ingest
    secret = pseudonyms.key()
    with bar(total=3 + len(settings.audits), description="ingest", unit="table") as progress:
        preferences = _with_sides(_read(stage, settings.preferences, read_preferences), settings.shares)
        _write(stage, "preferences", pseudonyms.pseudonymise(preferences, "annotator_id", secret), settings.preferences)
        progress.update()
        demonstrations = _demonstrations(stage, preferences)
        _write(stage, "demonstrations", pseudonyms.pseudonymise(demonstrations, "author_id", secret), None)
        progress.update()
        cast, golden, origin = _votes(stage, preferences)
        _write(stage, "votes", pseudonyms.pseudonymise(cast, "annotator_id", secret), origin)
        _write(stage, "golden", golden, settings.golden or origin)
        progress.update()
        for name, audit in settings.audits.items():
            found, left_out = _read(stage, audit.votes, votes.read_votes)
            found = pseudonyms.pseudonymise(found, "annotator_id", secret)
            said = f"{left_out} rows whose label is not a choice between two" if left_out else None
            _write(stage, f"audits/{name}/votes", found, audit.votes, said)
            if audit.golden:
                _write(stage, f"audits/{name}/golden", _read(stage, audit.golden, votes.read_golden), audit.golden)
            progress.update()
    sides = {s: int((preferences["side"] == s).sum()) for s in SIDES}
    stage.log_metrics({f"rows/{s}": float(n) for s, n in sides.items()})
    write_json(stage.report / "summary.json", {"tables": stage.notes["tables"], "sides": sides})


def _read(stage: Stage, source: str, reader: Any) -> Any:
    result = reader(source)
    if Path(source).exists():
        stage.input_table(Path(source), "raw")
    return result


def _with_sides(preferences: pl.DataFrame, shares: dict[str, float]) -> pl.DataFrame:
    sides = [side_of(split_key(prompt), shares) for prompt in preferences["prompt"].to_list()]
    return preferences.with_columns(pl.Series("side", sides, dtype=pl.String))


def _demonstrations(stage: Stage, preferences: pl.DataFrame) -> pl.DataFrame:
    """Given demonstrations, or the chosen answers of the `sft` side."""
    source = stage.params.ingest.demonstrations
    if source:
        table: pl.DataFrame = _read(stage, source, read_demonstrations)
    else:
        rows = preferences.filter(pl.col("side") == "sft")
        table = rows.select(
            (DERIVED_DEMONSTRATION + pl.col("id")).alias("id"),
            pl.concat_list("prompt", "chosen").alias("messages"),
            "source",
            pl.lit(None, dtype=pl.String).alias("author_id"),
        ).select(list(DEMONSTRATIONS))
    return table.with_columns(pl.lit("sft").alias("side"))


def _votes(stage: Stage, preferences: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, str | None]:
    """(votes, golden, where they are from): given, simulated, or none."""
    settings = stage.params.ingest
    if settings.votes:
        cast, _ = _read(stage, settings.votes, votes.read_votes)
        golden = _read(stage, settings.golden, votes.read_golden) if settings.golden else votes.empty_golden()
        votes.refuse_unjudgeable(cast, golden, settings.votes, str(settings.golden))
        return cast, golden, settings.votes
    if settings.golden:
        raise BadInput("params.yaml: ingest.golden is given without ingest.votes; golden items are judged by votes.")
    if settings.panel is None:
        return votes.empty_votes(), votes.empty_golden(), None
    cast, golden = panel.simulate(preferences, settings.panel, stage.seed)
    return votes.complete(cast, votes.VOTES), votes.complete(golden, votes.GOLDEN), "simulated panel"


def _write(stage: Stage, name: str, table: pl.DataFrame, source: str | None, left_out: str | None = None) -> None:
    path = paths.INGESTED / f"{name}.parquet"
    write_table(table, path)
    stage.output_table(path)
    stage.notes.setdefault("tables", {})[name] = {
        "path": path.as_posix(),
        "rows": table.height,
        "content_sha256": content_sha256(table),
        "columns": {c: str(t) for c, t in table.schema.items()},
        "source": source,
        "left_out": left_out,
    }


if __name__ == "__main__":
    run_stage("ingest", body)
