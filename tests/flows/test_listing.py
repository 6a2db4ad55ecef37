"""A run by its id, by a part of it, or as the latest."""

from pathlib import Path

import pytest

from flows import listing, run
from governance.errors import BadInput
from governance.records import write_run_record

FIRST, LAST = "20260101T000000Z-aaaa1111", "20260102T000000Z-bbbb2222"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path))
    for run_id in (FIRST, LAST):
        record = {"run_id": run_id, "status": "done", "stages": [], "gate": {"verdict": "pass", "reasons": []}}
        write_run_record(tmp_path / "records" / run_id, record)
    return tmp_path


@pytest.mark.parametrize(
    ("named", "found"), [(FIRST, FIRST), ("20260101", FIRST), ("aaaa1111", FIRST), ("b2222", LAST), ("latest", LAST)]
)
def test_a_part_of_an_id_is_enough(named: str, found: str) -> None:
    assert listing.load(named)["run_id"] == found


@pytest.mark.parametrize(
    ("named", "said"), [("2026", "2 runs"), ("", "no such run"), ("0000", "no such run"), ("../records", "no such run")]
)
def test_what_names_no_run_or_several_is_refused(named: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        listing.load(named)


def test_a_damaged_record_does_not_hide_the_others(home: Path) -> None:
    (home / "records" / FIRST / "run.json").write_text("cut")
    assert listing.load("latest")["run_id"] == LAST
    assert listing.load(LAST)["run_id"] == LAST
    with pytest.raises(BadInput, match="restore it"):
        listing.load(FIRST)


@pytest.mark.parametrize("content", ["cut", "[]", "{}", '{"run_id": "20260101T000000Z-aaaa1111"}'])
def test_a_damaged_record_is_listed_as_such_beside_the_others(content: str, home: Path) -> None:
    (home / "records" / FIRST / "run.json").write_text(content)
    found = listing.runs()
    assert [r["run_id"] for r in found] == [LAST, FIRST]
    assert found[1]["status"] == "damaged" and "restore it" in found[1]["message"]


def test_the_latest_run_is_the_latest_also_after_the_clock_was_set_back(home: Path) -> None:
    ahead = "29990101T235959Z-cccc3333"
    for before in (ahead, "29990102T000000Z"):
        run_id = run._new_run_id() if before != ahead else ahead
        assert run_id.startswith(before)
        record = {"run_id": run_id, "status": "done", "stages": [], "gate": {"verdict": "pass", "reasons": []}}
        write_run_record(home / "records" / run_id, record)
        assert listing.load("latest")["run_id"] == run_id
    (home / "records" / ahead).rename(home / "records" / "copy of a folder")
    assert run._new_run_id() > run_id
