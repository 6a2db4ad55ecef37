"""Principles that answers are judged by: the versioned file of them, which is drawn for which row, and who is told.

version: 1
principles:
- id: no-harm
  text: gives no help to somebody who wants to hurt a person.    # ends the sentence "A good response …"
  source: own                                                    # where it is from
  reason: …                                                      # why it is in the list
  approved_by: A. Person                                         # null: principles.approved_by of params.yaml
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from pydantic import Field, ValidationError

from governance.digest import sha256_path
from governance.errors import BadInput
from tasks import yaml_reader
from tasks.param_types import Count, Section
from tasks.splits import number
from tasks.training_params import Principles

Text = Annotated[str, Field(pattern=r"\S")]


class Principle(Section):
    """One entry of the file."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=40)]
    text: Annotated[str, Field(pattern=r"\S", max_length=600)]
    source: Text
    reason: Text
    approved_by: Text | None = None


class PrincipleList(Section):
    """The file. `version` is raised by whoever changes the list."""

    version: Count
    principles: list[Principle]


def read_principles(settings: Principles) -> PrincipleList:
    """The list in `settings.file`, each entry with somebody who approved it. Raises BadInput, which names file, entry and
    field."""
    path = Path(settings.file)
    try:
        raw = yaml_reader.parse(yaml_reader.read_text(path), str(path))
    except FileNotFoundError:
        raise BadInput(f"principles.file: {path}: there is no such file; correct the name.") from None
    try:
        found = PrincipleList.model_validate(raw)
    except ValidationError as error:
        raise BadInput(f"{path}: {_sentence(error, raw)}") from None
    if not found.principles:
        raise BadInput(f"{path}: principles: has no entry; write one, or set principles.revisions and .pairs to 0.")
    twice = [name for name, n in Counter(p.id for p in found.principles).items() if n > 1]
    if twice:
        raise BadInput(f"{path}: principles: the id {twice[0]} stands there twice; give each entry one of its own.")
    return PrincipleList(version=found.version, principles=[_approved(p, settings, path) for p in found.principles])


def _sentence(error: ValidationError, raw: Any) -> str:
    if not isinstance(raw, dict):
        return "must be a mapping with version and principles."
    first = error.errors()[0]
    *entry, field = first["loc"]
    place = ""
    if len(entry) > 1:
        given = raw["principles"][entry[1]]
        name = given.get("id") if isinstance(given, dict) else None
        place = f"principles: entry {int(entry[1]) + 1}{f' ({name})' if isinstance(name, str) else ''}: "
    elif entry:  # an entry that is no mapping
        return f"principles: entry {int(field) + 1}: must be a mapping with id, text, source, reason and approved_by."
    reason = {
        "extra_forbidden": "is not a known field: remove it or correct its spelling",
        "missing": "is missing",
        "string_pattern_mismatch": "must be small letters, digits and -" if field == "id" else "is empty",
    }.get(first["type"], f"is wrong: {first['msg']}")
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{place}field {field}: {reason}{more}."


def _approved(principle: Principle, settings: Principles, path: Path) -> Principle:
    by = principle.approved_by or (settings.approved_by or "").strip()
    if not by:
        raise BadInput(
            f"{path}: principles: entry {principle.id}: field approved_by: names nobody; what a model is to be trained "
            "towards is a decision: say who took it, here or for the whole list in principles.approved_by."
        )
    return principle.model_copy(update={"approved_by": by})


def drawn(principles: Sequence[Principle], row: str, seed: int) -> Principle:
    """The principle of a row: by its id and the seed alone, so that another row changes nothing for this one."""
    return principles[number(f"{seed}:principle:{row}") % len(principles)]


def note(settings: Principles, listed: PrincipleList, used: pl.Series) -> dict[str, Any]:
    """What the record says of the principles that shaped a table, with how many of its rows (`used`: their ids) each did."""
    counts = Counter(used.to_list())
    file = Path(settings.file)
    entries = [p.model_dump() | {"rows": counts[p.id]} for p in listed.principles]
    return {"file": file.as_posix(), "sha256": sha256_path(file), "version": listed.version, "principles": entries}
