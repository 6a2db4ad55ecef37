"""Accuracy by group: few people are never shown, nor what would give them away."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tasks.demographics import LEAST, golden_accuracy_by_group, read_people


def people(**groups: int) -> pl.DataFrame:
    names = [g for g, n in groups.items() for _ in range(n)]
    return pl.DataFrame({"annotator_id": [f"a{k}" for k in range(len(names))], "country": names})


def shown(frame: pl.DataFrame) -> tuple[set[str], int]:
    n = frame.height
    rows = golden_accuracy_by_group(frame["annotator_id"], np.full(n, 8), np.full(n, 10), frame)
    return {r["group"] for r in rows if "group" in r}, sum(r.get("hidden_groups", 0) for r in rows)


def test_accuracy_and_its_interval_draw_people() -> None:
    frame = people(north=20, south=20)
    right = np.r_[np.full(20, 9), np.tile([2, 10], 10)]
    rows = golden_accuracy_by_group(frame["annotator_id"], right, np.full(40, 10), frame)
    north, south = rows
    assert (north["accuracy"], south["accuracy"]) == (pytest.approx(0.9), pytest.approx(0.6))
    assert north["low"] == north["high"] == pytest.approx(0.9)  # all alike
    assert south["low"] < 0.55
    assert south["high"] > 0.65


def test_small_groups_are_not_shown() -> None:
    assert shown(people(north=9, south=LEAST - 1, east=1)) == ({"north"}, 2)


def test_a_lone_small_group_hides_the_next_one_too() -> None:
    assert shown(people(north=9, south=6, east=2)) == ({"north"}, 2)


def test_ages_come_in_bands_and_only_people_with_golden_votes_count(tmp_path: Path) -> None:
    ages = "\n".join(f"a{k},{20 + k}" for k in range(30))
    (tmp_path / "p.csv").write_text(f"annotator_id,age\n{ages}\n")
    frame = read_people(str(tmp_path / "p.csv"))
    votes = np.where(np.arange(30) < 20, 10, 0)
    rows = golden_accuracy_by_group(frame["annotator_id"], votes, votes, frame)
    assert [(r["group"], r["annotators"]) for r in rows] == [("20–29", 10), ("30–39", 10)]
