"""What laws and standards ask for, row by row: where the evidence is, or what a person must add, or why it is not asked.

The lists in `reference/` name for each row the files of a bundle that speak to it and what no software can know. A
person's declarations (a YAML file) may say that a row is not applicable, and why, and that the model is general-purpose.
"""

import csv
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

from governance.digest import sha256_bytes
from governance.errors import BadInput

SCHEMA = "attestrl/mapping/1"
DISCLAIMER = "This is evidence, not a declaration of compliance."
EVIDENCE, PERSON, NOT_APPLICABLE = "evidence", "needs a person", "not applicable"


@dataclass(frozen=True)
class Table:
    """One law or standard: the list's name and its title for people."""

    id: str
    title: str


TABLES = (
    Table("eu_ai_act_annex_iv", "Regulation (EU) 2024/1689, Annex IV: technical documentation"),
    Table("eu_ai_act_articles", "Regulation (EU) 2024/1689: articles that ask for records"),
    Table("iso_42001_annex_a", "ISO/IEC 42001:2023, Annex A: controls"),
    Table("nist_ai_rmf", "NIST AI Risk Management Framework 1.0: core"),
    Table("gdpr", "Regulation (EU) 2016/679 (GDPR): articles that ask for records"),
)
GENERAL_PURPOSE = "general_purpose"  # the declaration with which Annex XI is asked for, too
ANNEX_XI = Table("eu_ai_act_annex_xi", "Regulation (EU) 2024/1689, Annex XI: general-purpose AI models")


@cache
def reference(name: str) -> list[dict[str, str]]:
    """Rows of a list."""
    text = (files("governance") / "reference" / f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def mapping(content: dict[str, bytes], declared: dict[str, Any]) -> dict[str, Any]:
    """The tables for a bundle with these files; `declared` is {list: {row: {"not_applicable": reason}}}, and
    {"general_purpose": true} where that is declared."""
    digests = {name: sha256_bytes(data) for name, data in content.items()}
    tables = [
        {"id": t.id, "title": t.title, "rows": [_row(r, digests, declared.get(t.id, {})) for r in reference(t.id)]}
        for t in (*TABLES, *([ANNEX_XI] if declared.get(GENERAL_PURPOSE) else []))
    ]
    return {"schema": SCHEMA, "notice": DISCLAIMER, "tables": tables}


def _row(row: dict[str, str], digests: dict[str, str], declared: dict[str, Any]) -> dict[str, Any]:
    patterns = row["evidence"].split()
    found = [{"file": n, "sha256": d} for n, d in sorted(digests.items()) if any(fnmatchcase(n, p) for p in patterns)]
    reason = declared.get(row["id"], {}).get("not_applicable")
    if reason:
        status, note, found = NOT_APPLICABLE, f"declared: {reason}", []
    elif found:
        status, note = EVIDENCE, f"a person adds: {row['person']}" if row["person"] else ""
    else:
        status, note = PERSON, f"write: {row['person'] or row['topic']}"
    return {"id": row["id"], "topic": row["topic"], "status": status, "evidence": found, "note": note}


def read_declarations(text: str, where: str) -> dict[str, Any]:
    """Declarations from YAML. Raises BadInput for an unknown list or row, or a row without its reason."""
    import yaml

    try:
        declared = yaml.safe_load(text) or {}
    except yaml.YAMLError:
        raise BadInput(f"{where}: is not valid YAML.") from None
    known = {t.id: {r["id"] for r in reference(t.id)} for t in (*TABLES, ANNEX_XI)}
    if not isinstance(declared, dict) or not declared.keys() <= {*known, GENERAL_PURPOSE}:
        raise BadInput(f"{where}: names something else than {', '.join(known)}, {GENERAL_PURPOSE}.")
    general = declared.pop(GENERAL_PURPOSE, False)
    if not isinstance(general, bool):
        raise BadInput(f"{where}: {GENERAL_PURPOSE} is neither true nor false.")
    if ANNEX_XI.id in declared and not general:
        raise BadInput(
            f"{where}: {ANNEX_XI.id} is for general-purpose models; declare {GENERAL_PURPOSE}: true as well."
        )
    for name, rows in declared.items():
        for row, said in (rows or {}).items():
            if str(row) not in known[name]:
                raise BadInput(f"{where}: {name} has no row {row}.")
            reason = said.get("not_applicable") if isinstance(said, dict) else None
            if not isinstance(reason, str) or not reason.strip() or len(said) > 1:
                raise BadInput(f"{where}: {name} {row} needs `not_applicable:` and the reason, nothing else.")
    rows_by_list = {name: {str(row): said for row, said in (rows or {}).items()} for name, rows in declared.items()}
    return rows_by_list | ({GENERAL_PURPOSE: True} if general else {})
