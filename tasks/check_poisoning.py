"""What to trust: planted triggers, injected content, turned labels and floods of near-duplicates.

Used by the stage `poisoning` and by `attestrl check poisoning`. Rows are quarantined with a reason, never changed.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import hypergeom

from governance.digest import writing
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
ROWS = 2000  # of a file that are in memory at once
ENRICHED = 1e-4  # p-value at which a source or annotator is named as where a finding comes from


@dataclass(frozen=True)
class Checked:
    """`findings`, the surest first: {kind, evidence, row_ids, table, effect, low, high, measure, p_value,
    adjusted_p_value, q_value, annotators, sources}; `detectable`: what could have been found (empty: too few rows)."""

    findings: list[dict[str, Any]]
    detectable: dict[str, Any]


def check_poisoning(preferences: Texts, demonstrations: Texts | None, settings: Poisoning, seed: int) -> Checked:
    """Try everything on preferences and, if given, on demonstrations."""
    with bar(4, "poisoning", "check") as progress:
        found = search_floods(preferences, "preferences", settings)
        progress.update()
        place = _places(preferences, found, "preferences")
        search = None
        if len(place) >= LEAST_ROWS:
            search = PreferenceSearch(_taken(preferences, place), settings, seed)
            suspected = (*search.turned_labels(), *search.one_sided(), *search_answers(search))
            found += [_moved(s, place) for s in suspected]
        progress.update(2)
        if demonstrations is not None and demonstrations.height:
            found += _of_demonstrations(demonstrations, settings, search, place)
        progress.update()
    tables = {"preferences": preferences.columns}
    if demonstrations is not None:
        tables["demonstrations"] = demonstrations.columns
    kept = merged(found)
    # among the significant alone: never less than the q-values among everything tried
    q = q_values(np.array([s.adjusted for s in kept]))
    findings = [_finding(s, tables) | {"q_value": float(v)} for s, v in zip(kept, q, strict=True)]
    return Checked(findings, search.detectable() if search else {})


def _of_demonstrations(
    texts: Texts, settings: Poisoning, search: PreferenceSearch | None, preferences_at: np.ndarray
) -> list[Suspicion]:
    found = search_floods(texts, "demonstrations", settings)
    at = _places(texts, found, "demonstrations")
    if len(at) < LEAST_ROWS:
        return found
    for s in search_demonstrations(_taken(texts, at), settings, search):
        if s.table == "demonstrations":
            found.append(_moved(s, at))
        else:
            found.append(Suspicion(**(_moved(s, preferences_at).__dict__ | {"more": at[s.more]})))
    return found


def _places(texts: Texts, found: list[Suspicion], name: str) -> np.ndarray:
    """Row numbers of a table that no flood holds: a flood would make triggers of its words."""
    flooded = [s.rows for s in found if s.kind == "near_duplicate_flood" and s.table == name]
    return np.setdiff1d(np.arange(texts.height), np.concatenate(flooded) if flooded else [])


def _taken(texts: Texts, kept: np.ndarray) -> Texts:
    return texts if len(kept) == texts.height else texts.take(kept)


def _moved(suspicion: Suspicion, place: np.ndarray) -> Suspicion:
    return Suspicion(**(suspicion.__dict__ | {"rows": place[suspicion.rows]}))


def _finding(suspicion: Suspicion, tables: dict[str, pl.DataFrame]) -> dict[str, Any]:
    table = tables[suspicion.table]
    rows = table[suspicion.rows]
    evidence, ids = list(dict.fromkeys(suspicion.evidence))[:MOST_EVIDENCE], rows["id"].to_list()
    if suspicion.kind == "near_duplicate_flood":
        evidence = [table["id"][int(suspicion.more[0])], f"{len(ids)} near-duplicates of this row"]
    elif len(suspicion.more):
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
    from tasks.formats import demonstration_chunks, preference_chunks

    given = of_preferences(preference_chunks(str(preferences), rows=ROWS))
    shown = of_demonstrations(demonstration_chunks(str(demonstrations), rows=ROWS)) if demonstrations else None
    checked = check_poisoning(given, shown, settings, seed)
    if ablated:
        checked = Checked(ablation(given, checked.findings, settings, seed), checked.detectable)
    out.mkdir(parents=True, exist_ok=True)
    _write_rows(preferences, given.columns["id"], reasons(checked.findings), out)
    result = summary(checked, given.height)
    write_report(out, checked.findings, given, result, settings, seed)
    return result


def _write_rows(source: Path, ids: pl.Series, said: dict[str, str], out: Path) -> None:
    """The rows as given, in clean.jsonl or, with id and reason, in quarantined.jsonl."""
    with writing(out / "clean.jsonl") as clean, writing(out / "quarantined.jsonl") as aside:
        for name, line in zip(ids, _lines(source, len(ids)), strict=True):
            if name in said:
                row = json.loads(line.removeprefix("\ufeff")) | {"id": name, "reason": said[name]}
                aside.write(f"{json.dumps(row, ensure_ascii=False)}\n".encode())
            else:
                clean.write(line.encode())


def _lines(source: Path, rows: int) -> Iterator[str]:
    """The rows of a file, read again: its lines, or, of another format or of rankings, where a pair is the row, JSON."""
    from tasks.formats import preference_chunks

    if source.is_file() and source.suffix in (".jsonl", ".json"):
        with source.open(encoding="utf-8") as given:
            one_each = sum(1 for line in given if line.strip()) == rows
        if one_each:
            with source.open(encoding="utf-8") as given:
                yield from (line if line.endswith("\n") else f"{line}\n" for line in given if line.strip())
            return
    for chunk in preference_chunks(str(source), rows=ROWS):
        yield from (f"{json.dumps(row, ensure_ascii=False, default=str)}\n" for row in chunk.iter_rows(named=True))
