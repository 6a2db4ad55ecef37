"""What to trust: triggers that explain surprising labels, and floods of near-duplicates.

Used by the stage `poisoning` and by `attestrl check poisoning`. Rows are quarantined with a reason, never changed.
"""

import json
from pathlib import Path
from typing import Any

import polars as pl

from governance.digest import write_json, write_jsonl
from tasks.params import Poisoning
from tasks.progress import bar
from tasks.stats.audit_model import surprise
from tasks.stats.near_duplicates import groups
from tasks.stats.triggers import suspicious_phrases

FLOOD_LEAST = 10
LEAST_ROWS = 50  # a cross-fitted audit model of fewer rows says nothing


def check_poisoning(
    preferences: pl.DataFrame, demonstrations: pl.DataFrame | None, settings: Poisoning, seed: int
) -> list[dict[str, Any]]:
    """Findings, the surest first: {kind, evidence, row_ids, effect, p_value, adjusted_p_value, annotators, sources}."""
    ids = preferences["id"].to_list()
    prompts = [m[-1]["content"] for m in preferences["prompt"].to_list()]
    chosen, rejected = ([m[-1]["content"] for m in preferences[side].to_list()] for side in ("chosen", "rejected"))
    with bar(3, "poisoning", "check") as progress:
        texts = [" ".join(parts) for parts in zip(prompts, chosen, rejected, strict=True)]
        findings = _floods(texts, preferences, settings, seed)
        flooded = {row for f in findings for row in f["row_ids"]}
        if demonstrations is not None and demonstrations.height:
            said = [" ".join(t["content"] for t in m[-2:]) for m in demonstrations["messages"].to_list()]
            findings += _floods(said, demonstrations, settings, seed)
        progress.update()
        keep = [i for i, name in enumerate(ids) if name not in flooded]  # a flood would make triggers of its words
        if len(keep) >= LEAST_ROWS:
            surprising = surprise([chosen[i] for i in keep], [rejected[i] for i in keep], seed)
            progress.update()
            asked = [prompts[i] for i in keep]
            for phrase in suspicious_phrases(asked, surprising, settings.max_ngram, settings.min_rows, settings.level):
                rows = [ids[keep[k]] for k in phrase.rows]
                finding = _finding("trigger", [phrase.text], rows, preferences)
                figures = {"effect": phrase.effect, "p_value": phrase.p_value, "adjusted_p_value": phrase.adjusted}
                findings.append(finding | figures)
        progress.update(progress.total - progress.n)
    return findings


def _floods(texts: list[str], table: pl.DataFrame, settings: Poisoning, seed: int) -> list[dict[str, Any]]:
    """Findings on the rows of `table` whose `texts` are near-duplicates of many others."""
    ids, found = table["id"].to_list(), []
    for group in groups(texts, settings.duplicate_similarity, FLOOD_LEAST, seed):
        rows = [ids[i] for i in group]
        evidence = [rows[0], f"{len(rows)} rows share at least {settings.duplicate_similarity:.0%} of their words"]
        found.append(_finding("near_duplicate_flood", evidence, rows, table))
    return found


def _finding(kind: str, evidence: list[str], row_ids: list[str], table: pl.DataFrame) -> dict[str, Any]:
    rows = table.filter(pl.col("id").is_in(row_ids))
    people = rows["annotator_id"].drop_nulls().unique().sort().to_list() if "annotator_id" in rows.columns else []
    return {
        "kind": kind,
        "evidence": evidence,
        "row_ids": row_ids,
        "effect": float(len(row_ids)),
        "p_value": None,
        "adjusted_p_value": None,
        "annotators": people,
        "sources": rows["source"].drop_nulls().unique().sort().to_list(),
    }


def reasons(findings: list[dict[str, Any]]) -> dict[str, str]:
    """Why each quarantined row is, by id; the first finding that names it speaks."""
    said: dict[str, str] = {}
    for finding in findings:
        for row in finding["row_ids"]:
            said.setdefault(row, f"{finding['kind']}: {finding['evidence'][0]}")
    return said


def summary(findings: list[dict[str, Any]], rows: int) -> dict[str, Any]:
    """Figures and a sentence for people."""
    bad = len(reasons(findings))
    kinds = sorted({f["kind"] for f in findings})
    found = f"{len(findings)} findings ({', '.join(kinds)}) on {bad} rows" if findings else "nothing suspicious"
    return {"summary": f"{rows} rows: {found}.", "rows": rows, "findings": len(findings), "quarantined": bad}


def run_check_poisoning(
    preferences: Path, demonstrations: Path | None, out: Path, settings: Poisoning, seed: int
) -> dict[str, Any]:
    """Check a vendor's files; writes findings.json, clean.jsonl and quarantined.jsonl to `out`."""
    from tasks.formats import read_demonstrations, read_preferences
    from tasks.reading import read_rows

    table = read_preferences(str(preferences))
    shown = read_demonstrations(str(demonstrations)) if demonstrations else None
    findings = check_poisoning(table, shown, settings, seed)
    said = reasons(findings)
    given = [row for _, row in read_rows(str(preferences))]
    if len(given) != table.height:  # rankings: a pair is the row
        given = table.to_dicts()
    rows = list(zip(table["id"].to_list(), given, strict=True))
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "findings.json", {"findings": findings})
    write_jsonl(out / "clean.jsonl", [json.loads(json.dumps(r, default=str)) for i, r in rows if i not in said])
    bad = [json.loads(json.dumps(r | {"id": i, "reason": said[i]}, default=str)) for i, r in rows if i in said]
    write_jsonl(out / "quarantined.jsonl", bad)
    result = summary(findings, table.height)
    write_json(out / "summary.json", result)
    return result
