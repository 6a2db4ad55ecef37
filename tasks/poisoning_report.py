"""Report of the poisoning check: `report.html`, which opens from disk, its summary in plain words first; the same as
JSON; a picture of what was found and of what could have been."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from governance.digest import write_atomic, write_json
from tasks.pages import rendered
from tasks.params import Poisoning
from tasks.plots import canvas, save
from tasks.suspicions import Texts

EXAMPLES = 3  # rows shown of a finding
LONGEST = 400  # characters shown of a text
WORDS = {  # what each kind of finding means, and what to do about it
    "trigger": "Where the prompt has this phrase, the preferred answer is the one that is otherwise refused.",
    "topic_turned_round": "On a whole topic the labels contradict what is preferred elsewhere. It may be a topic with "
    "honest standards of its own: a person should decide.",
    "character_trigger": "Where the prompt has these characters, labels are turned round.",
    "style_trigger": "Where the prompt is written in this manner, labels are turned round.",
    "syntax_trigger": "Where the prompt is built in this way, labels are turned round.",
    "labels_turned_by_origin": "Labels that come from here contradict those from elsewhere.",
    "injected_phrase": "One side of the pairs has this far more often than honest preferences explain.",
    "one_sided_style": "One side of the pairs is written in this manner nearly always.",
    "verbosity": "Here the longer answer is preferred nearly always.",
    "near_duplicate_flood": "Many rows are the same text with small changes, so that it counts many times.",
    "answer_trigger": "Where the prompt has this phrase, one fixed sentence is in the preferred answer.",
    "demonstration_trigger": "Where the prompt has this phrase, one fixed sentence is the answer.",
    "cross_stage_trigger": "The same phrase calls for a fixed answer in the demonstrations and turns labels round in "
    "the preferences.",
}


def write_report(
    out: Path,
    findings: list[dict[str, Any]],
    texts: Texts,
    summary: dict[str, Any],
    settings: Poisoning,
    seed: int,
) -> None:
    """Write findings.json, summary.json, report.html and poisoning.png to the folder `out`; examples come from `texts`,
    the preferences."""
    write_json(out / "findings.json", {"findings": findings})
    write_json(out / "summary.json", summary)
    _picture(findings, summary["detectable"], out / "poisoning.png")
    wanted = {i for f in findings for i in f["row_ids"][:EXAMPLES]}
    ids = texts.columns["id"]
    rows = {ids[row]: _shown(texts, row) for row in ids.is_in(list(wanted)).arg_true().to_list()}
    page = rendered(
        "poisoning_report.html.j2",
        findings=[f | {"examples": list(_examples(f, rows)), "means": WORDS[f["kind"]]} for f in findings],
        summary=summary,
        settings=settings,
        seed=seed,
    )
    write_atomic(out / "report.html", page)


def _picture(findings: list[dict[str, Any]], detectable: dict[str, Any], path: Path) -> None:
    """Effect of each finding with its interval, by rows; power by rows of an inserted trigger."""
    figure, (found, seen) = canvas(2, "Poisoning check")
    for f in findings:
        error = [[max(0.0, f["effect"] - f["low"])], [max(0.0, f["high"] - f["effect"])]]  # both may be rounded
        found.errorbar(len(f["row_ids"]), f["effect"], yerr=error, fmt="o", color="tab:red", capsize=3)
        found.annotate(f["kind"].replace("_", " "), (len(f["row_ids"]), f["effect"]), fontsize=6)
    found.set(xlabel="rows of the finding", ylabel="effect (95 % interval)", ylim=(0, 1.05), title="found")
    if findings:
        found.set_xscale("log")
    seen.set(xlabel="rows with a made-up trigger", ylabel="probability of being found", ylim=(0, 1.05), title="visible")
    if detectable:
        seen.plot(*zip(*detectable["power"], strict=True))
        seen.set_xscale("log")
    save(figure, path)


def _examples(finding: dict[str, Any], rows: dict[str, dict[str, str]]) -> Iterator[dict[str, str]]:
    yield from (rows[i] for i in finding["row_ids"][:EXAMPLES] if i in rows)


def _shown(texts: Texts, row: int) -> dict[str, str]:
    said = {side: given[row] for side, given in texts.texts.items()}
    return {"id": texts.columns["id"][row]} | {
        k: v if len(v) <= LONGEST else f"{v[:LONGEST]} …" for k, v in said.items()
    }
