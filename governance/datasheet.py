"""Datasheet of one dataset: the topics of Gebru et al., *Datasheets for Datasets* (CACM 2021), each with its answer.

An answer is measured by this software, or declared by a person (in `datasheet.yaml`, README.md or LICENSE beside the
data), or visibly missing, with whom to ask. Nothing else ever fills one.
"""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from governance.errors import BadInput
from governance.mapping import reference
from governance.template import render

SCHEMA = "attestrl/datasheet/1"
DECLARED_IN = "datasheet.yaml"
MEASURED, DECLARED, MISSING = "measured", "declared", "missing"


@dataclass(frozen=True)
class DatasetFacts:
    """What is measured of a dataset; None where nothing is. An empty dictionary says that there is none of it.

    `columns` maps names to types, `nulls` names to rows without a value, `sides` sides of the split to rows, `pii` kinds
    of personal data, `per_item` how many annotations an item has, `demographics` annotators by attribute as published, `quarantined` reasons and `failed_checks` rules to rows, `raw` files as they came to their SHA-256.
    """

    name: str
    path: str
    sha256: str
    rows: int
    content_sha256: str | None = None
    columns: dict[str, str] | None = None
    nulls: dict[str, int] | None = None
    sides: dict[str, int] | None = None
    pii: dict[str, int] | None = None
    quarantined: dict[str, int] | None = None
    failed_checks: dict[str, int] | None = None
    raw: dict[str, str] | None = None
    timeframe: tuple[str, str] | None = None
    annotators: str | None = None
    demographics: dict[str, list[dict[str, Any]]] | None = None
    simulated: str | None = None
    used_for: str | None = None
    per_item: str | None = None
    left_out: str | None = None
    software: str | None = None


@dataclass(frozen=True)
class Declared:
    """What persons said: answers by topic, each with where it stands, and the source's own words in full."""

    answers: dict[str, tuple[str, str]]
    notes: str | None = None


@dataclass(frozen=True)
class Answer:
    """One topic: `source` says what measured it or where it is declared, `ask` whom to ask where it is missing."""

    id: str
    section: str
    topic: str
    status: str
    answer: str | None
    source: str | None
    ask: str | None


def answers(facts: DatasetFacts, declared: Declared) -> list[Answer]:
    """Every topic in the order of the list. Where a person and a measurement answer, both do."""
    measured = _measured(facts)
    found = []
    for row in reference("datasheet_questions"):
        said, number = declared.answers.get(row["id"]), measured.get(row["id"])
        texts = [text for text in (number, said[0] if said else None) if text]
        sources = ([f"measured on {facts.path}"] if number else []) + ([said[1]] if said else [])
        status = MEASURED if number else DECLARED if said else MISSING
        found.append(
            Answer(
                row["id"],
                row["section"],
                row["topic"],
                status,
                " ".join(texts) or None,
                ", ".join(sources) or None,
                None if texts else row["ask"],
            )
        )
    return found


def document(facts: DatasetFacts, declared: Declared) -> dict[str, Any]:
    """The datasheet as JSON."""
    every = answers(facts, declared)
    counts = Counter(a.status for a in every)
    dataset = asdict(facts) | {"timeframe": list(facts.timeframe) if facts.timeframe else None}
    return {
        "schema": SCHEMA,
        "dataset": dataset,
        "counts": {status: counts[status] for status in (MEASURED, DECLARED, MISSING)},
        "answers": [asdict(a) for a in every],
    }


def datasheet(facts: DatasetFacts, declared: Declared) -> str:
    """The datasheet as Markdown."""
    every = answers(facts, declared)
    sections: dict[str, list[Answer]] = {}
    for a in every:
        sections.setdefault(a.section, []).append(a)
    counts = Counter(a.status for a in every)
    return render("datasheet.md.j2", d=facts, sections=sections, counts=counts, total=len(every), notes=declared.notes)


def _measured(d: DatasetFacts) -> dict[str, str]:
    """Answers that follow from the facts, by topic."""
    found: dict[str, str | None] = {
        "COMP-02": f"{d.rows} rows." + (f" By side of the split: {_listed(d.sides)}." if d.sides else ""),
        "COMP-04": f"{len(d.columns)} columns: {_listed(d.columns)}." if d.columns else None,
        "COMP-05": _label(d.columns),
        "COMP-06": _counted(d.nulls, "Rows without a value", "every column has a value in every row"),
        "COMP-08": _splits(d.sides),
        "COMP-09": _errors(d),
        "COMP-14": _counted(d.pii, "Personal data found by pattern", "none found by the patterns that were searched"),
        "COLL-02": d.annotators,
        "COMP-13": _demographics(d.demographics),
        "COLL-05": f"First {d.timeframe[0]}, last {d.timeframe[1]}, as the rows say." if d.timeframe else None,
        "PREP-01": _counted(d.quarantined, "Rows set aside", "none"),
        "PREP-02": f"Yes, with these SHA-256: {_listed(d.raw)}." if d.raw else None,
        "PREP-03": d.software,
        "USES-01": f"In this project: {d.used_for}." if d.used_for else None,
    }
    if d.left_out:
        found["PREP-01"] = " ".join(filter(None, (found["PREP-01"], f"Left out at reading: {d.left_out}.")))
    if d.simulated:
        found |= dict.fromkeys(("COLL-01", "COLL-04"), d.simulated)
    return {topic: text for topic, text in found.items() if text}


def _listed(counts: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {n}" for name, n in counts.items())


def _counted(counts: dict[str, int] | None, what: str, none: str) -> str | None:
    return None if counts is None else f"{what}: {_listed(counts) or none}."


def _demographics(tables: dict[str, list[dict[str, Any]]] | None) -> str | None:
    """Annotators by group, as `governance.disclosure` lets it be said."""
    if not tables:
        return None
    said = []
    for attribute, rows in tables.items():
        shown = [f"{r['group']} {r['people'][0]}–{r['people'][1]}" for r in rows if "group" in r]
        unseen = sum(r.get("hidden_groups", 0) for r in rows)
        shown += [f"{unseen} groups are not shown"] if unseen else []
        said.append(f"{attribute}: {', '.join(shown)}")
    return f"Annotators by what the vendor says of them, in bands of people: {'; '.join(said)}."


def _splits(sides: dict[str, int] | None) -> str | None:
    if sides is None:
        return None
    if not sides:
        return "None: the table is used whole."
    return f"{_listed(sides)}. By prompt (first user turn), by hash: no prompt stands on two sides."


def _errors(d: DatasetFacts) -> str | None:
    if d.failed_checks is None:
        return None
    return f"Rows that broke a rule: {_listed(d.failed_checks) or 'none'}."


def _label(columns: dict[str, str] | None) -> str | None:
    """The label by the names that the pipeline gives to columns."""
    names = columns or {}
    if {"chosen", "rejected"} <= names.keys():
        return "The pair itself: `chosen` was preferred to `rejected`."
    if "choice" in names:
        return "`choice`: 1 where response a was preferred, else 0."
    if "gold_choice" in names:
        return "`gold_choice`: the answer that counts as right."
    return None


def declared_beside(folder: Path) -> Declared:
    """What persons wrote in a folder of raw data. Raises BadInput if `datasheet.yaml` is not as it should be.

    README.md gives its line `Source: … Licence: …` and its own words; without a licence there, the first line of LICENSE
    names it.
    """
    notes, text_of_licence = _text(folder / "README.md"), _text(folder / "LICENSE")
    line = next((text for text in notes.splitlines() if text.startswith("Source:")), "")
    source, _, licence = (part.strip(" .") for part in line.removeprefix("Source:").partition("Licence:"))
    found: dict[str, tuple[str, str]] = {}
    if source:
        found["MAIN-01"] = (f"It comes from {source}.", "declared in README.md")
    if licence or text_of_licence:
        name = licence or text_of_licence.partition("\n")[0].strip()
        found["DIST-04"] = (name, f"declared in {'README.md' if licence else 'LICENSE'}")
    warnings = [text for text in notes.splitlines() if any(w in text.lower() for w in ("not for", "not meant"))]
    if warnings:
        found["USES-05"] = (" ".join(warnings), "declared in README.md")
    offensive = [text for text in notes.splitlines() if any(w in text.lower() for w in ("offend", "harmful"))]
    if offensive:
        found["COMP-12"] = (" ".join(offensive), "declared in README.md")
    body = "\n".join(f"> {text}" for text in notes.splitlines() if text and not text.startswith(("#", "Source:")))
    return Declared(found | _from_yaml(folder / DECLARED_IN), body or None)


def _from_yaml(file: Path) -> dict[str, tuple[str, str]]:
    import yaml

    if not file.is_file():
        return {}
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError):
        raise BadInput(f"{file}: is not valid YAML in UTF-8.") from None
    if not isinstance(content, dict) or content.keys() != {"answered_by", "answers"}:
        raise BadInput(f"{file}: needs exactly the keys answered_by and answers.")
    by, said = content["answered_by"], content["answers"]
    terms = [row["property"] for row in reference("croissant_rai") if not row["topics"]]
    known = {row["id"] for row in reference("datasheet_questions")} | set(terms)
    if not isinstance(by, str) or not by.strip() or not isinstance(said, dict):
        raise BadInput(f"{file}: answered_by names a person or role, answers maps topics to texts.")
    for topic, text in said.items():
        if topic not in known:
            raise BadInput(
                f"{file}: {topic} is no topic; they are MOTI-01 to MAIN-08, as every datasheet lists them, and "
                f"{', '.join(terms)}."
            )
        if not isinstance(text, str) or not text.strip():
            raise BadInput(f"{file}: {topic} has no text; leave the topic out where nothing is known.")
    return {topic: (" ".join(text.split()), f"declared by {by.strip()} in {file.name}") for topic, text in said.items()}


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace").strip() if file.is_file() else ""
