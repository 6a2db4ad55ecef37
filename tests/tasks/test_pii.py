"""Personal data that is plainly there is counted by kind; what only looks like it is not."""

import polars as pl
import pytest

from tasks.pii import count


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to anna.b+x@mail.example.co.uk now", "e-mail"),
        ("call (212) 555-0143 or not", "phone"),
        ("call +1 212-555-0143", "phone"),
        ("card 4111 1111 1111 1111.", "card"),
        ("SSN 123-45-6789", "us social security number"),
        ("NI AB 12 34 56 C", "uk national insurance number"),
        ("to GB82 WEST 1234 5698 7654 32", "iban"),
    ],
)
def test_each_kind_is_found(text: str, kind: str) -> None:
    assert count(pl.Series([text, "nothing here"])) == {kind: 1}


@pytest.mark.parametrize(
    "text",
    [
        "a @ b, user@host",
        "4111 1111 1111 1112",  # the checksum is wrong
        "0000 0000 0000 0000",
        "000-12-3456 and 900-12-3456",  # never given out
        "GB82 WEST 1234 5698 7654 33",
        "in 1990-2000 about 100-200 people",
    ],
)
def test_what_only_looks_like_it_is_not_counted(text: str) -> None:
    assert count(pl.Series([text])) == {}
