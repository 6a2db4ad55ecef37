"""Canonical JSON is RFC 8785 on every path through it."""

from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.digest import canonical_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**54), 2**54) | st.floats() | st.floats(-1, 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)


@settings(max_examples=500, deadline=None)
@given(value=VALUES)
def test_the_bytes_are_those_of_rfc_8785(value: Any) -> None:
    try:
        expected = rfc8785.dumps(value)
    except ValueError:
        with pytest.raises(ValueError):
            canonical_json(value)
        return
    assert canonical_json(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": 1, "a": '\x1f\x7f\n"\\é'}, '{"a":"\\u001f\x7f\\n\\"\\\\é","b":1}'),
        ({"\U0001f600": 1, "\ufb33": 2}, '{"\U0001f600":1,"\ufb33":2}'),  # by UTF-16, not by code point
        ([1.0, 1e21, 0.1], "[1,1e+21,0.1]"),
        ([1e-4, 0.00012, 9.9e-5, -0.5, 4503599627370495.5], "[0.0001,0.00012,0.000099,-0.5,4503599627370495.5]"),
    ],
)
def test_escapes_order_and_numbers(value: Any, expected: str) -> None:
    assert canonical_json(value) == expected.encode()
