"""What to trust: planted triggers, injected content, turned labels and floods of near-duplicates.

Used by the stage `poisoning` and by `attestrl check poisoning`. Rows are quarantined with a reason, never changed.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import hypergeom

from governance.digest import write_atomic
from tasks.demonstration_search import search_answers, search_demonstrations
from tasks.params import Poisoning
from tasks.poison_ablation import ablation
from tasks.poisoning_report import write_report
from tasks.preference_search import PreferenceSearch
from tasks.progress import bar
from tasks.stats.family_wise import q_values
from tasks.suspicions import Suspicion, Texts, merged, of_demonstrations, of_preferences, search_floods

LEAST_ROWS = 50  # a cross-fitted audit model of fewer rows says nothing
MOST_EVIDENCE = 8  # strings of one finding
ENRICHED = 1e-4  # p-value at which a source or annotator is named as where a finding comes from


@dataclass(frozen=True)
class Checked:
    """`findings`, the surest first: {kind, evidence, row_ids, table, effect, low, high, measure, p_value,
    adjusted_p_value, q_value, annotators, sources}; `detectable`: what could have been found (empty: too few rows)."""

    findings: list[dict[str, Any]]
    detectable: dict[str, Any]


def check_poisoning(
    preferences: pl.DataFrame, demonstrations: pl.DataFrame | None, settings: Poisoning, seed: int
) -> Checked:
    """Try everything on preferences and, if given, on demonstrations."""
    with bar(4, "poisoning", "check") as progress:
        texts = of_preferences(preferences)
        found = search_floods(texts, "preferences", settings)
        progress.update()
        unflooded, texts = _without(preferences, texts, found)
        search = PreferenceSearch(unflooded, texts, settings, seed) if unflooded.height >= LEAST_ROWS else None
        if search:
            place = _places(preferences, found)
            suspected = (*search.turned_labels(), *search.one_sided(), *search_answers(search))
            found += [_moved(s, place) for s in suspected]
        progress.update(2)
        if demonstrations is not None and demonstrations.height:
            found += _of_demonstrations(demonstrations, settings, search, _places(preferences, found))
        progress.update()
    tables = {"preferences": preferences, "demonstrations": demonstrations}
    kept = merged(found)
    # among the significant alone: never less than the q-values among everything tried
    q = q_values(np.array([s.adjusted for s in kept]))
    findings = [_finding(s, tables) | {"q_value": float(v)} for s, v in zip(kept, q, strict=True)]
    return Checked(findings, search.detectable() if search else {})


def _of_demonstrations(
    table: pl.DataFrame, settings: Poisoning, search: PreferenceSearch | None, preferences_at: np.ndarray
) -> list[Suspicion]:
    texts = of_demonstrations(table)
    found = search_floods(texts, "demonstrations", settings)
    kept, texts = _without(table, texts, found)
    if kept.height < LEAST_ROWS:
        return found
    at = _places(table, found)
    for s in search_demonstrations(texts, settings, search):
        if s.table == "demonstrations":
            found.append(_moved(s, at))
        else:
            found.append(Suspicion(**(_moved(s, preferences_at).__dict__ | {"more": at[s.more]})))
    return found


def _places(table: pl.DataFrame, found: list[Suspicion]) -> np.ndarray:
    """Row numbers of `table` that no flood holds: a flood would make triggers of its words."""
    name = "demonstrations" if "messages" in table.columns else "preferences"
    flooded = [s.rows for s in found if s.kind == "near_duplicate_flood" and s.table == name]
    return np.setdiff1d(np.arange(table.height), np.concatenate(flooded) if flooded else [])


def _without(table: pl.DataFrame, texts: Texts, found: list[Suspicion]) -> tuple[pl.DataFrame, Texts]:
    kept = _places(table, found)
    return (table, texts) if len(kept) == table.height else (table[kept], texts.take(kept))


def _moved(suspicion: Suspicion, place: np.ndarray) -> Suspicion:
    return Suspicion(**(suspicion.__dict__ | {"rows": place[suspicion.rows]}))


def _finding(suspicion: Suspicion, tables: dict[str, pl.DataFrame | None]) -> dict[str, Any]:
    table = tables[suspicion.table]
    assert table is not None
    rows = table[suspicion.rows]
    evidence, ids = list(dict.fromkeys(suspicion.evidence))[:MOST_EVIDENCE], rows["id"].to_list()
    if suspicion.kind == "near_duplicate_flood":
        evidence = [table["id"][int(suspicion.more[0])], f"{len(ids)} near-duplicates of this row"]
    elif len(suspicion.more) and tables["demonstrations"] is not None:
        ids += tables["demonstrations"][suspicion.more]["id"].to_list()
    people = "annotator_id" if "annotator_id" in table.columns else "author_id"
    evidence += [e for c in (people, "source") if (e := _origin(rows, table, c)) and e not in evidence]
    return {
        "kind": suspicion.kind,
        "evidence": evidence,
        "row_ids": ids,
        "table": suspicion.table,
        "effect": suspicion.effect,
        "low": suspicion.low,
        "high": suspicion.high,
        "measure": suspicion.measure,
        "p_value": suspicion.p_value,
        "adjusted_p_value": suspicion.adjusted,
        "annotators": _values(rows, people),
        "sources": _values(rows, "source"),
    }


def _values(rows: pl.DataFrame, column: str) -> list[str]:
    """Values of a column, the most frequent first."""
    if column not in rows.columns:
        return []
    counted = rows.drop_nulls(column).group_by(column).len().sort(["len", column], descending=[True, False])
    return counted[column].to_list()


def _origin(rows: pl.DataFrame, table: pl.DataFrame, column: str) -> str | None:
    """The annotator or source that more rows of a finding come from than chance explains, if most do."""
    if not (values := _values(rows, column)) or table[column].n_unique() < 2:
        return None
    here, everywhere = int((rows[column] == values[0]).sum()), int((table[column] == values[0]).sum())
    p_value = hypergeom.sf(here - 1, table.height, everywhere, rows.height) * table[column].n_unique()
    if p_value > ENRICHED or here < rows.height / 2:
        return None
    share = everywhere / table.height
    return f"{column} {values[0]} gave {here} of the {rows.height} rows, {share:.1%} of all"


def reasons(findings: list[dict[str, Any]]) -> dict[str, str]:
    """Why each quarantined row is, by id; the first finding that names it speaks."""
    said: dict[str, str] = {}
    for finding in findings:
        for row in finding["row_ids"]:
            said.setdefault(row, f"{finding['kind']}: {finding['evidence'][0]}")
    return said


def summary(checked: Checked, rows: int) -> dict[str, Any]:
    """Figures and a sentence for people."""
    findings = checked.findings
    bad = len(reasons(findings))
    kinds = sorted({f["kind"] for f in findings})
    found = f"{len(findings)} findings ({', '.join(kinds)}) on {bad} rows" if findings else "nothing suspicious"
    return {
        "summary": f"{rows} rows: {found}.",
        "rows": rows,
        "findings": len(findings),
        "quarantined": bad,
        "detectable": checked.detectable,
    }


def run_check_poisoning(
    preferences: Path, demonstrations: Path | None, out: Path, settings: Poisoning, seed: int, *, ablated: bool = False
) -> dict[str, Any]:
    """Check a vendor's files; writes findings.json, summary.json, report.html, clean.jsonl and quarantined.jsonl to
    `out`; `ablated` adds to each finding what a reward model learns from its rows."""
    from tasks.formats import read_demonstrations, read_preferences

    table = read_preferences(str(preferences))
    shown = read_demonstrations(str(demonstrations)) if demonstrations else None
    checked = check_poisoning(table, shown, settings, seed)
    if ablated:
        checked = Checked(ablation(table, checked.findings, settings, seed), checked.detectable)
    out.mkdir(parents=True, exist_ok=True)
    _write_rows(preferences, table, reasons(checked.findings), out)
    result = summary(checked, table.height)
    write_report(out, checked.findings, table, result, settings, seed)
    return result


def _write_rows(source: Path, table: pl.DataFrame, said: dict[str, str], out: Path) -> None:
    """The rows as given, in clean.jsonl or, with id and reason, in quarantined.jsonl."""
    lines: list[str] = []
    if source.is_file() and source.suffix in (".jsonl", ".json"):
        with source.open(encoding="utf-8") as given:
            lines = [line if line.endswith("\n") else f"{line}\n" for line in given if line.strip()]
    if len(lines) != table.height:  # another format, or rankings: a pair is the row
        lines = [json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in table.iter_rows(named=True)]
    names = table["id"].to_list()
    aside = [
        json.dumps(json.loads(line) | {"id": name, "reason": said[name]}, ensure_ascii=False) + "\n"
        for name, line in zip(names, lines, strict=True)
        if name in said
    ]
    write_atomic(out / "quarantined.jsonl", "".join(aside))
    write_atomic(out / "clean.jsonl", "".join(k for name, k in zip(names, lines, strict=True) if name not in said))
