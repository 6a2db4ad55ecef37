"""Stage `validate`: rows by rule, tables against each other; bad rows go to quarantine, too many stop the run."""

from collections import Counter
from pathlib import Path
from typing import Any

import pandera.polars as pa
import polars as pl

from governance.digest import write_json, write_jsonl
from governance.errors import BadInput, GateRefused
from tasks import paths, pii, rules
from tasks.data_docs import write_data_docs
from tasks.progress import bar
from tasks.rules import Rule
from tasks.stage import Stage, run_stage
from tasks.tables import write_table

Judged = dict[str, tuple[pl.DataFrame, dict[str, str]]]
LATIN = r"\p{Latin}"


def body(stage: Stage) -> None:
    """Write `data/interim/valid` and the report; raises GateRefused after the report is written."""
    raw = {p.relative_to(paths.INGESTED).as_posix(): p for p in sorted(paths.INGESTED.rglob("*.parquet"))}
    tables = {n.removesuffix(".parquet"): pl.read_parquet(stage.input_table(p, "validation")) for n, p in raw.items()}
    judged: Judged = {}
    quarantine: list[dict[str, Any]] = []
    with bar(len(tables) + 1, "validate", "table") as progress:
        for name, table in _in_order(tables).items():
            derived, which = _rules_for(name, table, tables, stage)
            good = rules.judged(derived, which)
            bad = _failures(name, table, good, which)
            quarantine += bad
            tables[name] = table.filter(pl.Series(~pl.Series(range(table.height)).is_in({b["row"] for b in bad})))
            judged[name] = (good.with_columns(_ids(table)), {r.name: f"{r.field}: {r.sentence}" for r in which})
            progress.update()
        write_data_docs(judged, stage.report / "data_docs")
        progress.update()
    _report(stage, tables, judged, quarantine)
    _gate(stage, judged, quarantine)
    for name, table in tables.items():
        path = paths.VALID / f"{name}.parquet"
        write_table(table, path)
        stage.output_table(path)
    stage.notes["gate"] = "pass"


def _in_order(tables: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Pairs first: votes are judged against the pairs that remain, golden items against both."""
    first = ["preferences", "demonstrations", "votes", "golden"]
    rest = sorted(
        (n for n in tables if n not in first), key=lambda n: (Path(n).parent.as_posix(), n.endswith("golden"))
    )
    return {n: tables[n] for n in (*first, *rest) if n in tables}


def _rules_for(
    name: str, table: pl.DataFrame, tables: dict[str, pl.DataFrame], stage: Stage
) -> tuple[pl.DataFrame, list[Rule]]:
    kind = Path(name).name
    if kind == "preferences":
        derived = rules.derive_preferences(table).with_columns(table["side"], _one_side(table))
        shared = Rule("prompt_on_one_side", "prompt", pl.col("one_side"), "its prompt stands on two sides of the split")
        return derived, [*rules.preference_rules(stage.params.validate_), shared]
    if kind == "demonstrations":
        return rules.derive_demonstrations(table), rules.demonstration_rules()
    beside = Path(name).parent
    own = name == kind  # audits bring no pairs: their items are what their votes name
    if kind == "votes":
        known = tables["preferences"]["id"] if own else table["item_id"]
        return table.with_columns(known_item=pl.col("item_id").is_in(known.implode())), rules.vote_rules()
    known = tables[(beside / "votes").as_posix()]["item_id"]
    return table.with_columns(known_item=pl.col("item_id").is_in(known.implode())), rules.golden_rules()


def _one_side(table: pl.DataFrame) -> pl.Series:
    """Whether the row's split key is on one side only."""
    from tasks.splits import split_key

    keys = pl.Series("key", [split_key(p) for p in table["prompt"].to_list()], dtype=pl.String)
    sides = table.select(keys, "side").with_columns(n=pl.col("side").n_unique().over("key"))
    return (sides["n"] == 1).alias("one_side")


def _ids(table: pl.DataFrame) -> pl.Series:
    """Name of each row: its id, or item and annotator."""
    if "id" in table.columns:
        return table["id"].fill_null("(no id)").alias("id")
    if "annotator_id" in table.columns:
        return table.select(pl.format("{}/{}", "item_id", "annotator_id").alias("id"))["id"]
    return table["item_id"].alias("id")


def _failures(name: str, table: pl.DataFrame, good: pl.DataFrame, which: list[Rule]) -> list[dict[str, Any]]:
    """Quarantine rows, one for each bad row and rule, by pandera (lazily: all failures at once)."""
    try:
        rules.schema(which).validate(good, lazy=True)
        return []
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases
    ids, by_name = _ids(table), {r.name: r for r in which}
    rows = sorted((int(c["index"]), str(c["column"])) for c in cases.iter_rows(named=True))
    return [
        {"table": name, "id": ids[i], "row": i, "field": by_name[r].field, "rule": r, "reason": by_name[r].sentence}
        for i, r in rows
    ]


def _report(stage: Stage, tables: dict[str, pl.DataFrame], judged: Judged, quarantine: list[dict[str, Any]]) -> None:
    failed = Counter((q["table"], q["rule"]) for q in quarantine)
    checks = {
        name: {rule: {"checked": frame.height, "failed": failed[name, rule]} for rule in sentences}
        for name, (frame, sentences) in judged.items()
    }
    write_jsonl(stage.report / "quarantine.jsonl", quarantine)
    write_json(stage.report / "checks.json", {"checks": checks, "other_script": _other_script(tables["preferences"])})
    found = {
        "preferences": pii.count(_texts(tables["preferences"], ("prompt", "chosen", "rejected"))),
        "demonstrations": pii.count(_texts(tables["demonstrations"], ("messages",))),
    }
    write_json(stage.report / "pii.json", found)
    stage.log_metrics({"rows/quarantined": float(len({(q["table"], q["row"]) for q in quarantine}))})
    stage.log_metrics({f"pii/{t}/{k}": float(n) for t, kinds in found.items() for k, n in kinds.items()})
    for file in ("quarantine.jsonl", "checks.json", "pii.json", "data_docs"):
        stage.log_artifact(stage.report / file)


def _texts(table: pl.DataFrame, columns: tuple[str, ...]) -> pl.Series:
    content = pl.element().struct.field("content")
    return pl.concat([table[c].list.eval(content).explode() for c in columns])


def _other_script(preferences: pl.DataFrame) -> dict[str, Any]:
    """Rows whose letters are mostly of another script than the table's: reported, not quarantined."""
    text = preferences.select(pl.col("prompt").list.eval(pl.element().struct.field("content")).list.join(" "))["prompt"]
    letters, latin = text.str.count_matches(r"\p{L}"), text.str.count_matches(LATIN)
    is_latin = latin * 2 >= letters
    usual = bool(is_latin.sum() * 2 >= len(is_latin))
    odd = preferences["id"].filter((is_latin != usual) & (letters > 0))
    return {"usual": "Latin" if usual else "not Latin", "rows": odd.to_list()}


def _gate(stage: Stage, judged: Judged, quarantine: list[dict[str, Any]]) -> None:
    most = stage.params.validate_.max_quarantine_share
    for name, (frame, _) in judged.items():
        bad = {q["row"]: q for q in quarantine if q["table"] == name}
        if frame.height and len(bad) > most * frame.height:
            kind = BadInput if len(bad) == frame.height else GateRefused  # nothing to go on with is no verdict
            rule, n = Counter(q["rule"] for q in quarantine if q["table"] == name).most_common(1)[0]
            first = ", ".join(str(q["id"]) for q in list(bad.values())[:3])
            raise kind(
                f"{len(bad)} of {frame.height} rows of {name} are bad (limit {most:.0%}), most often by the rule {rule} "
                f"({n} rows), such as {first}; see {stage.report / 'quarantine.jsonl'}, then mend or remove them."
            )


if __name__ == "__main__":
    run_stage("validate", body)
