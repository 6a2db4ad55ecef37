"""Datasheet of one dataset, from plain facts. Gaps stay visible: what is not known is said to be not known."""

from dataclasses import dataclass
from pathlib import Path

from governance.template import render


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a dataset; None where nothing is. An empty dictionary says that there is none of it.

    `columns` maps names to types, `sides` sides of the split to rows, `pii` kinds of personal data and `quarantined`
    reasons to counts.
    """

    name: str
    path: str
    sha256: str
    rows: int
    content_sha256: str | None = None
    columns: dict[str, str] | None = None
    sides: dict[str, int] | None = None
    pii: dict[str, int] | None = None
    quarantined: dict[str, int] | None = None
    annotators: str | None = None
    simulated: str | None = None
    source: str | None = None
    creators: str | None = None
    collection: str | None = None
    licence: str | None = None
    intended_use: str | None = None
    used_for: str | None = None
    cautions: str | None = None
    left_out: str | None = None
    source_notes: str | None = None


def datasheet(facts: DatasetFacts) -> str:
    """Markdown datasheet in the seven sections of Gebru et al. (CACM 2021)."""
    return render("datasheet.md.j2", d=facts)


def source_facts(folder: Path) -> dict[str, str | None]:
    """`source`, `licence` and `source_notes` from the README and LICENSE that lie beside raw data.

    The README's line `Source: … Licence: …` goes first; without it, the first line of LICENSE names the licence.
    """
    notes, text_of_licence = _text(folder / "README.md"), _text(folder / "LICENSE")
    line = next((text for text in notes.splitlines() if text.startswith("Source:")), "")
    source, _, licence = line.removeprefix("Source:").partition("Licence:")
    body = "\n".join(f"> {text}" for text in notes.splitlines() if text and not text.startswith(("#", "Source:")))
    return {
        "source": source.strip(" .") or None,
        "licence": licence.strip(" .") or text_of_licence.partition("\n")[0].strip() or None,
        "source_notes": body or None,
    }


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace").strip() if file.is_file() else ""
