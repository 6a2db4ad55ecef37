"""What leaves the project of annotators' groups: nothing of few people, in one export and in the difference of two."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows import documents
from tasks import paths
from tasks.demographics import exported


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path / ".attestrl"))
    paths.PEOPLE.parent.mkdir(parents=True)
    return tmp_path


def told(countries: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """What a datasheet says of people {pseudonym: country} who all vote."""
    pl.DataFrame({"annotator_id": list(countries), "country": list(countries.values())}).write_parquet(paths.PEOPLE)
    pl.DataFrame({"annotator_id": list(countries) * 2}).write_parquet("votes.parquet")
    found = documents._demographics(Path("votes.parquet"))
    assert found is not None
    return found


def test_who_leaves_between_two_exports_is_not_told(project: Path) -> None:
    people = {f"p-{k}": "north" if k < 22 else "south" for k in range(62)}
    first = told(people)
    assert first["country"] == [{"group": "north", "people": [22, 32]}, {"group": "south", "people": [33, 43]}]
    for person in ("p-0", "p-61"):  # of either group: north would fall into another band
        people.pop(person)
        assert told(people) == first
    for k in range(1, 11):
        people.pop(f"p-{k}")
    assert told(people) != first  # eleven of the north are gone, so it may be said
    assert (project / ".attestrl/privacy/demographics.json").stat().st_mode & 0o077 == 0


def test_what_is_exported_of_the_report_has_no_figures_by_group() -> None:
    rows = [
        {"topic": "t", "members": 4, "share_of_annotators": 0.1, "golden_right": 3},
        {"topic": "u", "members": 12, "share_of_annotators": 0.3, "golden_right": 3},
    ]
    summary = {"summary": "…", "demographics": [{"group": "north", "annotators": 6}], "disagreements": rows}
    found = exported(summary)
    assert found["disagreements"] == [{"topic": "t", "members": None}, {"topic": "u", "members": 12}]
    assert "north" not in json.dumps(found)
