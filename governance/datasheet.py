"""Datasheet of one dataset, from plain facts. Gaps stay visible: what is not known is said to be not known."""

from dataclasses import dataclass, field
from pathlib import Path

from governance.template import render


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a dataset; None where nothing is."""

    name: str
    path: str
    sha256: str
    rows: int
    content_sha256: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    sides: dict[str, int] = field(default_factory=dict)
    pii: dict[str, int] | None = None
    quarantined: dict[str, int] = field(default_factory=dict)
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
    """`source`, `licence` and `source_notes` from the README and licence that lie beside raw data."""
    readme = folder / "README.md"
    notes = readme.read_text(encoding="utf-8").strip() if readme.is_file() else ""
    line = next((text for text in notes.splitlines() if text.startswith("Source:")), "")
    source, _, licence = line.removeprefix("Source:").partition("Licence:")
    body = "\n".join(f"> {text}" for text in notes.splitlines() if text and not text.startswith(("#", "Source:")))
    return {
        "source": source.strip(" .") or None,
        "licence": licence.strip(" .") or None,
        "source_notes": body or None,
    }
