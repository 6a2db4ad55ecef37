"""`report.html` of the poisoning check: one file that opens from disk, the summary in plain words first."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined

from governance.digest import write_atomic
from tasks.params import Poisoning

EXAMPLES = 3  # rows shown of a finding
LONGEST = 400  # characters shown of a text
WORDS = {  # what each kind of finding means, and what to do about it
    "trigger": "Where the prompt has this phrase, the preferred answer is the one that is otherwise refused.",
    "topic_turned_round": "On a whole topic the labels contradict what is preferred elsewhere. It may be a topic with "
    "honest standards of its own: a person should decide.",
    "character_trigger": "Where the prompt has these characters, labels are turned round.",
    "style_trigger": "Where the prompt is written in this manner, labels are turned round.",
    "labels_turned_by_origin": "Labels that come from here contradict those from elsewhere.",
    "injected_phrase": "One side of the pairs has this far more often than honest preferences explain.",
    "one_sided_style": "One side of the pairs is written in this manner nearly always.",
    "verbosity": "Here the longer answer is preferred nearly always.",
    "near_duplicate_flood": "Many rows are the same text with small changes, so that it counts many times.",
    "demonstration_trigger": "Where the prompt has this phrase, one fixed sentence is the answer.",
    "cross_stage_trigger": "The same phrase calls for a fixed answer in the demonstrations and turns labels round in "
    "the preferences.",
}


def write_report(
    path: Path,
    findings: list[dict[str, Any]],
    table: pl.DataFrame,
    summary: dict[str, Any],
    settings: Poisoning,
    seed: int,
) -> None:
    """Write the page; examples come from `table`, the preferences."""
    wanted = {i for f in findings for i in f["row_ids"][:EXAMPLES]}
    rows = {r["id"]: _shown(r) for r in table.filter(pl.col("id").is_in(list(wanted))).iter_rows(named=True)}
    environment = Environment(loader=PackageLoader("tasks"), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("poisoning_report.html.j2").render(
        findings=[f | {"examples": list(_examples(f, rows)), "means": WORDS[f["kind"]]} for f in findings],
        summary=summary,
        settings=settings,
        seed=seed,
    )
    write_atomic(path, page + "\n")


def _examples(finding: dict[str, Any], rows: dict[str, dict[str, str]]) -> Iterator[dict[str, str]]:
    yield from (rows[i] for i in finding["row_ids"][:EXAMPLES] if i in rows)


def _shown(row: dict[str, Any]) -> dict[str, str]:
    said = {side: "\n".join(m["content"] for m in row[side]) for side in ("prompt", "chosen", "rejected")}
    return {"id": row["id"]} | {k: v if len(v) <= LONGEST else f"{v[:LONGEST]} …" for k, v in said.items()}
