"""Stage `validate`: rows by rule, tables against each other; bad rows go to quarantine, too many stop the run.

Each table is read twice, some ten thousand rows at a time: once for what must be compared across rows, held as compact
keys, and once to judge the rows and to write those that are good.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from governance.digest import write_json
from governance.errors import BadInput, GateRefused
from tasks import keys, paths, pii, rules
from tasks.criterion_votes import stems
from tasks.data_docs import write_data_docs
from tasks.keys import Keys, Mask
from tasks.progress import Advance, bar
from tasks.row_checks import Quarantine, RowChecks
from tasks.scripts import Scripts
from tasks.splits import split_keys
from tasks.stage import Stage, run_stage
from tasks.tables import TableWriter, count_rows, read_chunks

TEXTS = {"preferences": ("prompt", "chosen", "rejected"), "demonstrations": ("messages",)}
DERIVE: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "preferences": rules.derive_preferences,
    "demonstrations": rules.derive_demonstrations,
}


@dataclass
class Judged:
    """One table: verdicts, personal data by kind, scripts, and what votes and golden items may name (ascending)."""

    checks: RowChecks
    names: Keys
    pii: Counter[str] = field(default_factory=Counter)
    scripts: Scripts = field(default_factory=Scripts)


def body(stage: Stage) -> None:
    """Write `data/interim/valid` and the report; raises GateRefused after the report is written."""
    files = _in_order()
    for path in files.values():
        stage.input_table(path, "validation")
    judged: dict[str, Judged] = {}
    with ExitStack() as valid:
        with (
            Quarantine(stage.report / "quarantine.jsonl") as quarantine,
            bar(sum(map(count_rows, files.values())), "validate", "row") as progress,
        ):
            for name, path in files.items():
                out = TableWriter(paths.VALID / path.relative_to(paths.INGESTED), dict(pl.read_parquet_schema(path)))
                across = _across(name, path, judged)
                checks = RowChecks(name, _rules(name, stage))
                judged[name] = _judge(checks, path, across, valid.enter_context(out), quarantine, progress.update)
        _report(stage, files, judged)
        _gate(stage, judged)
    for path in files.values():
        stage.output_table(paths.VALID / path.relative_to(paths.INGESTED))
    write_json(
        paths.AUDIT_NAMES, [Path(n).parent.name for n in files if n.startswith("audits/") and n.endswith("/votes")]
    )
    stage.notes["gate"] = "pass"


def _in_order() -> dict[str, Path]:
    """Tables by name. Pairs first: votes are judged against the pairs that remain, golden items against both."""
    found = [p for p in paths.INGESTED.rglob("*.parquet") if p != paths.PEOPLE]  # no rows that anything is trained on
    files = {p.relative_to(paths.INGESTED).with_suffix("").as_posix(): p for p in found}
    first = ["preferences", "demonstrations", "votes", "golden"]
    rest = sorted(files.keys() - set(first), key=lambda n: (Path(n).parent.as_posix(), n.endswith("golden")))
    return {name: files[name] for name in (*first, *rest) if name in files}


def _rules(name: str, stage: Stage) -> list[rules.Rule]:
    return {
        "preferences": rules.preference_rules(stage.params.validate_),
        "demonstrations": rules.demonstration_rules(),
        "votes": rules.vote_rules(),
        "golden": rules.golden_rules(),
    }[Path(name).name]


def _across(name: str, path: Path, judged: dict[str, Judged]) -> dict[str, Mask]:
    """What the rules must know of other rows and tables: columns of truth values, shape [rows]."""
    kind = Path(name).name
    if kind in TEXTS:
        ids = _keys(path, ["id"], lambda chunk: keys.of_text(chunk["id"]))
        masks = _repeats(path, ids)
        if kind == "preferences":
            asked = _keys(path, ["prompt"], lambda c: keys.of_text(pl.Series(split_keys(c["prompt"]), dtype=pl.String)))
            sides = _keys(path, ["side"], lambda chunk: keys.of_text(chunk["side"]))
            masks["one_side"] = ~keys.disagreeing(asked, sides)
        return masks
    items = _keys(path, ["item_id"], lambda chunk: keys.of_text(chunk["item_id"]))
    if kind == "golden":
        return {"seen_before": keys.later(items), "known_item": keys.among(items, judged[_votes_of(name)].names)}
    seen = keys.later(_keys(path, ["item_id", "annotator_id"], keys.of_rows))
    own = name == kind  # audits bring no pairs: their items are what their votes name
    if not own:
        return {"seen_before": seen, "known_item": np.ones(len(items), dtype=bool)}
    pairs = _keys(path, ["item_id"], lambda chunk: keys.of_text(stems(chunk["item_id"])))
    known = keys.among(items, judged["preferences"].names) | keys.among(pairs, judged["preferences"].names)
    return {"seen_before": seen, "known_item": known}


def _votes_of(golden: str) -> str:
    return (Path(golden).parent / "votes").as_posix()


def _keys(path: Path, columns: list[str], of: Callable[[pl.DataFrame], Keys]) -> Keys:
    return np.concatenate([of(chunk) for chunk in read_chunks(path, columns)])


def _repeats(path: Path, ids: Keys) -> dict[str, Mask]:
    """Rows under an id that rows with other content have too, and rows that an earlier one equals."""
    content = np.zeros(len(ids), dtype=np.uint64)
    among = np.zeros(len(ids), dtype=bool)
    among[keys.repeated(ids)] = True
    at = 0
    for chunk in read_chunks(path) if among.any() else ():
        here = slice(at, at + chunk.height)
        content[here][among[here]] = keys.of_rows(chunk.filter(pl.Series(among[here])))
        at += chunk.height
    of_others = keys.disagreeing(ids, content)
    return {"id_of_others": of_others, "seen_before": keys.later(ids) & ~of_others}


def _judge(
    checks: RowChecks, path: Path, across: dict[str, Mask], out: TableWriter, bad: Quarantine, advance: Advance
) -> Judged:
    """Judge a table's rows, and write each where it belongs."""
    kind = Path(checks.name).name
    found, names = Judged(checks, np.zeros(0, dtype=np.uint64)), []
    for chunk in read_chunks(path):
        here = slice(checks.checked, checks.checked + chunk.height)
        derived = DERIVE.get(kind, pl.DataFrame.clone)(chunk)
        others = [pl.Series(name, mask[here], dtype=pl.Boolean) for name, mask in across.items()]
        keep, entries = checks.judge(chunk, derived.with_columns(others))
        good = chunk.filter(pl.Series(keep, dtype=pl.Boolean))
        out.write(good)
        bad.add(entries)
        names.append(np.unique(keys.of_text(good["id" if kind in TEXTS else "item_id"])))
        for column in TEXTS.get(kind, ()):
            content = pl.element().struct.field("content")
            found.pii.update(pii.count(good[column].list.eval(content).explode()))
        if kind == "preferences":
            found.scripts.add(chunk["prompt"], keep)
        advance(chunk.height)
    found.names = np.unique(np.concatenate(names))
    return found


def _report(stage: Stage, files: dict[str, Path], judged: dict[str, Judged]) -> None:
    write_data_docs({name: table.checks.shown() for name, table in judged.items()}, stage.report / "data_docs")
    checks = {
        name: {rule: {"checked": table.checks.checked, "failed": n} for rule, n in table.checks.failed.items()}
        for name, table in judged.items()
    }
    other = _other_script(judged["preferences"].scripts, files["preferences"])
    write_json(stage.report / "checks.json", {"checks": checks, "other_script": other})
    found = {name: {kind: n for kind in pii.CANDIDATES if (n := judged[name].pii[kind])} for name in TEXTS}
    write_json(stage.report / "pii.json", found)
    stage.log_metrics({"rows/quarantined": float(sum(table.checks.bad for table in judged.values()))})
    stage.log_metrics({f"pii/{t}/{k}": float(n) for t, kinds in found.items() for k, n in kinds.items()})
    for file in ("quarantine.jsonl", "checks.json", "pii.json", "data_docs"):
        stage.log_artifact(stage.report / file)


def _other_script(scripts: Scripts, preferences: Path) -> dict[str, Any]:
    """Rows whose letters are mostly of another script than the table's: reported, not quarantined."""
    odd = pl.Series(scripts.odd(), dtype=pl.Boolean)
    ids: list[str] = []
    at = 0
    for chunk in read_chunks(preferences, ["id"]) if odd.any() else ():
        ids += chunk["id"].filter(odd[at : at + chunk.height]).to_list()
        at += chunk.height
    return {"usual": "Latin" if scripts.usual_is_latin() else "not Latin", "rows": ids}


def _gate(stage: Stage, judged: dict[str, Judged]) -> None:
    most = stage.params.validate_.max_quarantine_share
    for name, table in judged.items():
        checks = table.checks
        if checks.bad == 0:
            continue
        rule, n = checks.failed.most_common(1)[0]
        such = (
            f"such as {', '.join(checks.examples)}; see {stage.report / 'quarantine.jsonl'}, then mend or remove them."
        )
        where = f"most often by the rule {rule} ({n} rows), {such}"
        if name == "preferences" and checks.bad == checks.checked:
            raise BadInput(f"none of the {checks.checked} pairs is valid, {where}")
        if (same := checks.failed["id_unique"]) > most * checks.checked:  # no rows that are bad: a file that is wrong
            raise BadInput(f"{same} of {checks.checked} rows of {name} share their id with other rows, {such}")
        if checks.bad > most * checks.checked:
            raise GateRefused(f"{checks.bad} of {checks.checked} rows of {name} are bad (limit {most:.0%}), {where}")


if __name__ == "__main__":
    run_stage("validate", body)
