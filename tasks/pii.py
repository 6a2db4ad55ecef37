"""Personal data that is plainly there, counted by kind. Patterns are narrow: a count is a floor, not an inventory."""

import polars as pl

CANDIDATES = {
    "e-mail": r"[\w.+-]+@[\w-]+\.[\w.-]*[a-zA-Z]{2,}",
    "phone": r"(?:\+\d{1,3}[ .-]?)?(?:\(\d{3}\)|\b\d{3})[ .-]\d{3}[ .-]\d{4}\b",
    "card": r"\b(?:\d[ -]?){12,18}\d\b",
    "us social security number": r"\b\d{3}-\d{2}-\d{4}\b",
    "uk national insurance number": r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b",
    "iban": r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b",
}


def count(texts: pl.Series) -> dict[str, int]:
    """Number of matches of each kind in a column of text; kinds that do not occur are left out."""
    may_hold = {"e-mail": texts.filter(texts.str.contains("@", literal=True))}
    digits = texts.filter(texts.str.contains(r"\d"))  # every other kind has some
    found = {
        kind: may_hold.get(kind, digits).str.extract_all(pattern).explode().drop_nulls()
        for kind, pattern in CANDIDATES.items()
    }
    checks = {"card": _luhn, "iban": _iban, "us social security number": _ssn}
    kept = {k: sum(checks[k](m) for m in v) if k in checks else len(v) for k, v in found.items()}
    return {kind: n for kind, n in kept.items() if n}


def _luhn(text: str) -> bool:
    """Checksum of card numbers (ISO/IEC 7812)."""
    digits = [int(c) for c in text if c.isdigit()]
    doubled = [d if i % 2 == 0 else (2 * d - 9 if d > 4 else 2 * d) for i, d in enumerate(reversed(digits))]
    return len(set(digits)) > 1 and sum(doubled) % 10 == 0


def _ssn(text: str) -> bool:
    """Numbers that the Social Security Administration never gives out are not one."""
    area, group, serial = text.split("-")
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def _iban(text: str) -> bool:
    """Checksum of account numbers (ISO 13616)."""
    compact = text.replace(" ", "")
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1
