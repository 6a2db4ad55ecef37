"""How long data with personal content may be kept: declared by a person in `retention.yaml` beside the data.

    purpose: training and evaluation of reward models
    lawful_basis: Article 6(1)(f) GDPR, legitimate interest
    collected_until: 2025-12-31
    retain_until: 2028-12-31
    action: delete            # or review: what is done then
    controller: Example Ltd, privacy@example.org

Nothing is assumed where nothing is declared; it is shown as missing, with whom to ask.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from governance.errors import BadInput, GateRefused

SCHEMA = "attestrl/retention/1"
DECLARED_IN = "retention.yaml"
RECORD = "retention.json"
TEXTS = ("purpose", "lawful_basis", "controller", "recipients", "transfers", "security")
DATES = ("collected_until", "retain_until")
ACTIONS = ("delete", "review")


@dataclass(frozen=True)
class Retention:
    """What is declared of one source; None where nothing is."""

    source: str
    purpose: str | None = None
    lawful_basis: str | None = None
    controller: str | None = None
    recipients: str | None = None
    transfers: str | None = None
    security: str | None = None
    collected_until: date | None = None
    retain_until: date | None = None
    action: str | None = None

    def expired(self, today: date) -> bool:
        """Whether the last day on which the data may be kept is over."""
        return self.retain_until is not None and self.retain_until < today

    def state(self, today: date) -> str:
        """`kept`, `due` or `not declared`."""
        return "not declared" if self.retain_until is None else "due" if self.expired(today) else "kept"

    def declared(self) -> dict[str, Any]:
        """JSON form of what is declared."""
        return {k: v.isoformat() if isinstance(v, date) else v for k, v in asdict(self).items()}

    def as_dict(self, today: date) -> dict[str, Any]:
        """JSON form, with the state on a day."""
        return self.declared() | {"state": self.state(today)}


def read(source: Path) -> Retention:
    """What is declared beside a source. Raises BadInput if the file is not as above."""
    import yaml

    file = _beside(source)
    if not file.is_file():
        return Retention(source.as_posix())
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError):
        raise BadInput(f"{file}: is not valid YAML in UTF-8.") from None
    if not isinstance(content, dict):
        raise BadInput(f"{file}: must map {', '.join((*TEXTS, *DATES, 'action'))} to what is declared.")
    for name, value in content.items():
        if name not in (*TEXTS, *DATES, "action"):
            raise BadInput(f"{file}: {name} is not a known key; remove it or correct its spelling.")
        if name in DATES and type(value) is not date:
            raise BadInput(f"{file}: {name} is not a date; write it as 2028-12-31.")
        if name == "action" and value not in ACTIONS:
            raise BadInput(f"{file}: action is neither delete nor review.")
        if name in TEXTS and (not isinstance(value, str) or not value.strip()):
            raise BadInput(f"{file}: {name} has no text; leave it out where nothing is known.")
    return Retention(source.as_posix(), **content)


def recorded(folder: Path) -> dict[str, Retention]:
    """What was declared of the sources of a run when it ended, by source, from the run's folder."""
    file = folder / RECORD
    if not file.is_file():
        return {}
    rows = json.loads(file.read_text(encoding="utf-8"))["sources"]
    return {row["source"]: _from_record(row) for row in rows}


def record(sources: Iterable[Path]) -> dict[str, Any]:
    """What is declared of each source now, as the document that a run keeps."""
    return {"schema": SCHEMA, "sources": [read(source).declared() for source in sources]}


def current(source: Path, known: Mapping[str, Retention]) -> Retention:
    """What is declared beside the source, or, where that was removed, what the latest run recorded."""
    return known.get(source.as_posix(), Retention(source.as_posix())) if not _beside(source).is_file() else read(source)


def expired(sources: Iterable[Path], known: Mapping[str, Retention], today: date) -> list[Retention]:
    """Those of the sources whose time is over."""
    return [found for source in sources if (found := current(source, known)).expired(today)]


def _beside(source: Path) -> Path:
    return (source if source.is_dir() else source.parent) / DECLARED_IN


def _from_record(row: dict[str, Any]) -> Retention:
    fields: dict[str, Any] = {k: date.fromisoformat(v) if k in DATES and v else v for k, v in row.items()}
    return Retention(**fields)


def refuse_expired(sources: Iterable[Path], today: date) -> None:
    """Raises GateRefused for the first source that may not be kept any more."""
    for source in sources:
        found = read(source)
        if found.expired(today):
            raise GateRefused(
                f"{source}: may be kept until {found.retain_until} only, says {DECLARED_IN} beside it ({found.action or 'review'}); "
                "remove it from params.yaml and delete it, or let whoever declared it set another date."
            )
