"""Facts of a dataset for its datasheet, from what the stages reported."""

import json
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from flows import rounds
from governance import disclosure
from governance.datasheet import DatasetFacts, Declared, declared_beside
from governance.digest import read_json, sha256_path, write_json
from tasks import annotator_export, params, paths
from tasks.lineage import read_record

SIMULATED_VOTES = "The annotators and their votes are simulated: the pairs carry no annotator identities."
SIMULATED_LABELS = (
    "The labels on the policy's own answers are simulated: raters of a declared panel say what the judge prefers."
)


def dataset_facts(name: str, settings: params.Params, done: set[str]) -> tuple[DatasetFacts, Declared]:
    """Facts of a dataset of a run whose stages `done` were made or kept, and what people declare of it."""
    record = read_record("ingest")
    table = record["notes"]["tables"][name]
    path = Path(table["path"])
    source = str(table["source"] or (settings.ingest.preferences if name == "demonstrations" else ""))
    given = source and Path(source).exists()
    nulls, timeframe, per_item = _measured(path)
    facts = DatasetFacts(
        name=name,
        path=path.as_posix(),
        sha256=sha256_path(path),
        rows=table["rows"],
        content_sha256=table["content_sha256"],
        columns=table["columns"],
        nulls=nulls,
        sides=read_json(paths.report("ingest") / "summary.json")["sides"] if name == "preferences" else {},
        pii=read_json(paths.report("validate") / "pii.json").get(name) if "validate" in done else None,
        quarantined=_quarantined(name, done),
        failed_checks=_failed_checks(name) if "validate" in done else None,
        raw={source: record["inputs"][source]} if source in record["inputs"] else None,
        timeframe=timeframe,
        annotators=_annotators(name, done),
        demographics=demographics(path) if name == "votes" else None,
        simulated=simulated_people(panel=source == "simulated panel", labels=name in ("preferences", "votes")),
        used_for=_used_for(name),
        per_item=per_item,
        left_out=table["left_out"],
        software=f"Yes: the stages of this project, git commit {record['git_commit']}.",
    )
    return facts, declared_beside(Path(source).parent) if given else Declared({})


def simulated_people(*, panel: bool, labels: bool) -> str | None:
    """Who is simulated of those who voted on pairs, and of those who labelled the policy's answers."""
    found = [SIMULATED_VOTES] if panel else []
    found += [SIMULATED_LABELS] if labels and rounds.simulated() else []
    return " ".join(found) or None


def _measured(path: Path) -> tuple[dict[str, int], tuple[str, str] | None, str | None]:
    """Rows without a value by column, the first and last time that a row names, and how many annotations items have."""
    import polars as pl

    table = pl.read_parquet(path)
    nulls = {name: n for name, n in zip(table.columns, table.null_count().row(0), strict=True) if n}
    times = table["created_at"].drop_nulls() if "created_at" in table.columns else pl.Series([], dtype=pl.String)
    per_item = None
    if table.height and {"item_id", "annotator_id"} <= set(table.columns):
        n = sorted(table.group_by("item_id").len()["len"].to_list())
        per_item = f"{len(n)} items, with {n[0]} to {n[-1]} annotations each, {median(n):g} at the median."
    return nulls, (str(times.min()), str(times.max())) if len(times) else None, per_item


def _failed_checks(name: str) -> dict[str, int]:
    rules = read_json(paths.report("validate") / "checks.json")["checks"].get(name, {})
    return {rule: counts["failed"] for rule, counts in rules.items() if counts["failed"]}


def _used_for(name: str) -> str:
    return {
        "preferences": "reward model, judge, prompts of PPO and of the evaluation",
        "demonstrations": "supervised fine-tuning, with chosen answers of preference pairs unless others are given",
        "votes": "weights of preference pairs, annotator checks",
        "golden": "audit of annotators",
    }.get(name, "annotator checks only; nothing is trained on it")


def _quarantined(name: str, done: set[str]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for stage, file in (("validate", "quarantine.jsonl"), ("curate", "set_aside.jsonl")):
        if stage not in done or (stage == "curate" and name != "preferences"):
            continue
        for line in (paths.report(stage) / file).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row.get("table", name) == name:
                counts[row["reason"]] += 1
    return dict(counts)


def _annotators(name: str, done: set[str]) -> str | None:
    if "annotators" not in done or Path(name).name != "votes":
        return None
    folder = paths.report("annotators") / Path(name).parent
    found = read_json(folder / "summary.json")
    return str(annotator_export.exported(found)["summary"]) if found else None


def demographics(votes: Path) -> dict[str, list[dict[str, Any]]] | None:
    """Annotators of a table by attribute and group, for export. What was published is kept apart, in the state folder:
    the next table is compared with it."""
    import polars as pl

    people = pl.read_parquet(paths.PEOPLE)
    if not people.height:
        return None
    from tasks.demographics import group_sizes

    file = paths.home() / "privacy" / "demographics.json"
    before = read_json(file)
    sizes = group_sizes(pl.read_parquet(votes, columns=["annotator_id"])["annotator_id"], people)
    now = {attribute: disclosure.published(counts, before.get(attribute)) for attribute, counts in sizes.items()}
    write_json(file, now)
    file.chmod(0o600)
    return {attribute: table["rows"] for attribute, table in now.items()}
