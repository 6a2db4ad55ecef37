"""How long data with personal content may be kept: declared by a person in `retention.yaml` beside the data.

    purpose: training and evaluation of reward models
    lawful_basis: Article 6(1)(f) GDPR, legitimate interest
    collected_until: 2025-12-31
    retain_until: 2028-12-31
    action: delete            # or review: what is done then
    controller: Example Ltd, privacy@example.org

Nothing is assumed where nothing is declared; it is shown as missing, with whom to ask.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from governance.errors import BadInput, GateRefused

DECLARED_IN = "retention.yaml"
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

    def as_dict(self, today: date) -> dict[str, Any]:
        """JSON form."""
        plain = {k: v.isoformat() if isinstance(v, date) else v for k, v in asdict(self).items()}
        return plain | {"state": self.state(today)}


def read(source: Path) -> Retention:
    """What is declared beside a source. Raises BadInput if the file is not as above."""
    import yaml

    file = (source if source.is_dir() else source.parent) / DECLARED_IN
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


def refuse_expired(sources: Iterable[Path], today: date) -> None:
    """Raises GateRefused for the first source that may not be kept any more."""
    for source in sources:
        found = read(source)
        if found.expired(today):
            raise GateRefused(
                f"{source}: may be kept until {found.retain_until} only, says {DECLARED_IN} beside it ({found.action or 'review'}); "
                "remove it from params.yaml and delete it, or let whoever declared it set another date."
            )
