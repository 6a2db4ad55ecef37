"""What leaves the project of annotators' groups: nothing of few people, in one export and in the difference of two."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows import dataset_facts
from tasks import paths
from tasks.annotator_export import exported


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
    found = dataset_facts.demographics(Path("votes.parquet"))
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


def summary_of(reliabilities: list[float], flagged: int) -> dict[str, Any]:
    """A report on real people, as far as an export reads it."""
    people = len(reliabilities)
    return {
        "summary": f"{people} annotators; {flagged} of them are not to be trusted.",
        "votes": 100 * people,
        "annotators": people,
        "items": 50,
        "golden_votes": 0,
        "flagged": flagged,
        "flagged_for": {"guesses": flagged},
        "mean_reliability": sum(reliabilities) / people,
        "agreement": {"pairwise": {"value": 0.6637272, "low": 0.64, "high": 0.68}, "level": "nominal"},
        "demographics": [{"group": "north", "annotators": 6}],
        "disagreements": [
            {"topic": "t", "members": 4, "share_of_annotators": 0.1, "golden_right": 3},
            {"topic": "u", "members": 12, "share_of_annotators": 0.3, "golden_right": 3},
        ],
        "simulated": False,
    }


def test_what_is_exported_of_the_report_has_no_figures_of_few_people() -> None:
    found = exported(summary_of([0.7] * 12, 3))
    assert found["disagreements"] == [{"topic": "t", "members": None}, {"topic": "u", "members": 12}]
    assert "north" not in json.dumps(found)
    assert found["flagged"] == [0, 10]
    assert "0 to 10 of them are not to be trusted" in found["summary"]
    assert "flagged_for" not in found
    nobody = {
        "summary": "There are no votes.",
        "votes": 0,
        "annotators": 0,
        "items": 0,
        "flagged": 0,
        "simulated": False,
    }
    assert exported(nobody) == nobody
    simulated = exported(summary_of([0.7] * 12, 3) | {"simulated": True, "simulated_annotators": 12})
    assert (simulated["flagged"], simulated["mean_reliability"]) == (3, pytest.approx(0.7))
    some = exported(summary_of([0.7] * 12, 3) | {"simulated": True, "simulated_annotators": 5})
    assert some["flagged"] == [0, 10] and some["summary"].startswith("12 annotators (5 simulated) gave ")


@pytest.mark.parametrize("gone", [0.31, 0.97])
@pytest.mark.parametrize("people", [12, 40, 164])
def test_two_exports_do_not_tell_how_somebody_who_left_was_judged(people: int, gone: float) -> None:
    """Subtracting exact means gave the person's own reliability, subtracting counts whether the person was accused."""
    others = [0.6 + 0.3 * k / people for k in range(people - 1)]
    exact = [summary_of([*others, gone], 4), summary_of(others, 3)]
    assert people * exact[0]["mean_reliability"] - (people - 1) * exact[1]["mean_reliability"] == pytest.approx(gone)
    before, after = map(exported, exact)
    assert before["flagged"] == after["flagged"]
    step = 1 / min(people, 100)
    middle = people * before["mean_reliability"] - (people - 1) * after["mean_reliability"]
    uncertain = (2 * people - 1) * step / 2
    low, high, mean = middle - uncertain, middle + uncertain, after["mean_reliability"]
    assert (low <= 0 and high >= mean) or (
        low <= mean + step and high >= 1
    )  # a whole side of the mean remains possible
