"""How many people are in a group: small groups stay hidden, and two exports together say no more than each does."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.datasheet import DatasetFacts, Declared, answers
from governance.disclosure import EXPORTED, INTERNAL, band, changed, hidden, possible, published

COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 60), min_size=1)


def shown(rows: list[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    return {r["group"]: (r["people"][0], r["people"][1]) for r in rows if "group" in r}


@pytest.mark.parametrize(
    ("counts", "least", "gone"),
    [
        ({"a": 20, "b": 30}, 11, ""),
        ({"a": 20, "b": 10, "c": 30}, 11, "ab"),  # the total would tell b
        ({"a": 20, "b": 6, "c": 4}, 11, "abc"),  # ten people together
        ({"a": 20, "b": 6, "c": 5}, 11, "bc"),
        ({"a": 9, "b": 4, "c": 1}, 5, "bc"),
        ({"a": 3}, 5, "a"),
    ],
)
def test_small_groups_and_what_would_tell_of_them_are_hidden(counts: dict[str, int], least: int, gone: str) -> None:
    assert hidden(counts, least) == set(gone)


@given(COUNTS)
def test_one_export_tells_of_no_small_group(counts: dict[str, int]) -> None:
    rows = published(counts, None)["rows"]
    found = shown(rows)
    for group, (low, high) in found.items():
        assert low >= EXPORTED
        assert low <= counts[group] <= high
    unseen = sum(r.get("hidden_groups", 0) for r in rows)
    assert unseen + len(found) == len(counts)
    assert unseen != 1 or len(counts) == 1
    for group, (low, high) in zip(found, possible(sum(counts.values()), list(found.values()), unseen), strict=True):
        assert low <= counts[group] <= high
        assert high - low + 1 >= INTERNAL


@given(COUNTS, st.sampled_from("abcdef"), st.integers(-10, 10))
def test_the_difference_of_two_exports_tells_nothing_of_few_people(counts: dict[str, int], group: str, by: int) -> None:
    """Up to ten people of one group come or go between two exports: both say the same."""
    first = published(counts, None)
    after = {g: n for g, n in (counts | {group: max(0, counts.get(group, 0) + by)}).items() if n}
    assert published(after, first)["rows"] == first["rows"]


@given(COUNTS, st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(-3, 3)), max_size=40))
def test_nor_do_many_exports_one_after_the_other(counts: dict[str, int], steps: list[tuple[str, int]]) -> None:
    """Whatever a series of exports says anew, at least eleven people changed since what it said before."""
    state, last = published(counts, None), counts
    for group, by in steps:
        counts = {g: n for g, n in (counts | {group: max(0, counts.get(group, 0) + by)}).items() if n}
        after = published(counts, state)
        if after["rows"] != state["rows"]:
            assert changed(counts, last) >= EXPORTED
        if after["counts"] != state["counts"]:
            last = counts
        state = after


def test_bands_do_not_tell_how_many_came() -> None:
    assert band(11) == (11, 21)
    assert band(21) == (11, 21)
    assert band(22) == (22, 32)
    before, after = {"a": 30, "b": 40, "c": 50}, {"a": 30, "b": 40, "c": 61}
    first, second = (shown(published(c, None)["rows"]) for c in (before, after))
    assert first["a"] == second["a"]
    (low, high), (low_after, high_after) = first["c"], second["c"]
    assert (low_after - high, high_after - low) == (1, 21)  # anything from one person to twenty-one


def test_a_datasheet_says_it_in_bands() -> None:
    tables = {"country": published({"north": 30, "south": 40, "east": 3, "west": 9}, None)["rows"]}
    facts = DatasetFacts("votes", "v.parquet", "a" * 64, 3, demographics=tables)
    said = {a.id: a for a in answers(facts, Declared({}))}["COMP-13"]
    assert said.status == "measured"
    assert said.answer is not None
    assert "country: north 22–32, south 33–43, 2 groups are not shown" in said.answer
