"""What the stage `reward` made its models of beside people's pairs: solutions with labelled steps, and pairs that a protocol's judge
preferred."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from governance.datasheet import DatasetFacts, Declared, declared_beside
from governance.digest import sha256_path
from tasks import params, paths
from tasks.lineage import read_record

if TYPE_CHECKING:
    import polars as pl

SOLUTIONS = paths.report("reward") / "process_solutions.parquet"
SIMULATED_PROBLEMS = "The wrong answers to word problems that its judge was measured on are simulated."
SIMULATED_ROWS = (
    "Rows with `simulated` hold the mistake of a program in a solution that was right, or that solution itself."
)


def solutions(settings: params.Params) -> tuple[DatasetFacts, Declared]:
    """Solutions with labelled steps, of which the stage `reward` made a table."""
    record, table = read_record("reward"), _table(SOLUTIONS)
    traces = settings.process.traces
    too_long = sum(task["too_long"] for task in record["notes"]["process"]["tasks"].values())
    facts = DatasetFacts(
        name="process_solutions",
        path=SOLUTIONS.as_posix(),
        sha256=sha256_path(SOLUTIONS),
        rows=table.height,
        columns={name: str(kind) for name, kind in table.schema.items()},
        nulls=_nulls(table),
        sides=dict(table["side"].value_counts().sort("side").iter_rows()),
        raw={name: record["inputs"][name] for name in (traces, settings.process.problems) if name in record["inputs"]},
        simulated=SIMULATED_ROWS if table["simulated"].any() else None,
        used_for="process and outcome reward models",
        left_out=f"{too_long} solutions longer than {settings.process.max_length} tokens" if too_long else None,
        software=f"Yes: the stages of this project, git commit {record['git_commit']}.",
    )
    folder = Path(traces)
    return facts, declared_beside(folder if folder.is_dir() else folder.parent)


def oversight_pairs() -> tuple[DatasetFacts, Declared]:
    """Pairs that a protocol's judge preferred, which the stage `reward` made."""
    record, table = read_record("reward"), _table(paths.OVERSIGHT_PAIRS)
    note = record["notes"]["oversight"]
    facts = DatasetFacts(
        name="oversight_pairs",
        path=paths.OVERSIGHT_PAIRS.as_posix(),
        sha256=sha256_path(paths.OVERSIGHT_PAIRS),
        rows=table.height,
        columns={name: str(kind) for name, kind in table.schema.items()},
        nulls=_nulls(table),
        simulated=f"No person compared these answers: the model {note['judge']} did, by {note['protocol']}.",
        used_for="reward model, and policies straight from pairs",
        left_out=", ".join(f"{reason}: {n}" for reason, n in note["set_aside"].items() if n) or None,
        software=f"Yes: the stages of this project, git commit {record['git_commit']}.",
    )
    return facts, Declared({})


def oversight(done: set[str]) -> dict[str, Any] | None:
    """Who judged by which protocol, how right that judge is, and what became of the pairs; None where no pair was asked for."""
    note = read_record("reward")["notes"].get("oversight") if "reward" in done else None
    if not note:
        return None
    rows = json.loads((paths.report("reward") / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    return note | {"metrics": [row for row in rows if row["name"].startswith("oversight/")]}


def oversight_of(name: str, done: set[str]) -> str | None:
    """What is to know of the judgements that reward model and policy learnt from."""
    note = oversight(done)
    if note is None or name not in ("reward", "policy"):
        return None
    return (
        f"It learnt, among others, from {note['pairs']} pairs of answers that no person compared: the model {note['judge']} did, by "
        f"{note['protocol']}, in which {note['expert']} argued or helped. {note['said']} {SIMULATED_PROBLEMS}"
    )


def _table(file: Path) -> "pl.DataFrame":
    import polars as pl

    return pl.read_parquet(file)


def _nulls(table: "pl.DataFrame") -> dict[str, int]:
    """Rows without a value by column."""
    return {name: n for name, n in zip(table.columns, table.null_count().row(0), strict=True) if n}
