"""Comparisons by keys say what comparing the values themselves says."""

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tasks import keys

few = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xy")), max_size=12)


@given(few)
def test_repeated_later_and_disagreeing(rows: list[tuple[str, str]]) -> None:
    names, values = [n for n, _ in rows], np.array([v for _, v in rows], dtype=str)
    found = keys.of_text(pl.Series(names, dtype=pl.String))
    assert keys.repeated(found).tolist() == [i for i, n in enumerate(names) if names.count(n) > 1]
    assert keys.later(found).tolist() == [n in names[:i] for i, n in enumerate(names)]
    expected = [len({v for m, v in rows if m == n}) > 1 for n in names]
    assert keys.disagreeing(found, values).tolist() == expected


@given(st.lists(st.text(max_size=3)), st.lists(st.text(max_size=3)))
def test_among(values: list[str], known: list[str]) -> None:
    of_known = np.unique(keys.of_text(pl.Series(known, dtype=pl.String)))
    found = keys.among(keys.of_text(pl.Series(values, dtype=pl.String)), of_known)
    assert found.tolist() == [v in known for v in values]


def test_keys_of_rows_follow_from_every_column_and_from_no_chunk() -> None:
    frame = pl.DataFrame({"a": ["x", "x", None], "b": [["p"], ["q"], ["p"]]})
    whole = keys.of_rows(frame)
    assert len(set(whole.tolist())) == 3
    assert [int(keys.of_rows(frame[k : k + 1])[0]) for k in range(3)] == whole.tolist()
