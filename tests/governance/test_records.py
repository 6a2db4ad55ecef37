"""Records of runs on the disk."""

from pathlib import Path

import pytest

from governance.errors import BadInput
from governance.records import list_runs, load_run, write_run_record

REST = {"stages": [], "gate": {"verdict": "pass", "reasons": []}}


def test_runs_are_listed_in_the_order_of_their_ids(tmp_path: Path) -> None:
    for run_id in ("20260102T000000Z-b", "20260101T000000Z-a"):
        write_run_record(tmp_path / "records" / run_id, {"run_id": run_id, "status": "done"} | REST)
    (tmp_path / "records" / "20260103T000000Z-c").mkdir()  # a run that has not ended has no record yet
    assert [r["run_id"] for r in list_runs(tmp_path)] == ["20260101T000000Z-a", "20260102T000000Z-b"]
    assert load_run(tmp_path / "records" / "20260101T000000Z-a")["status"] == "done"


def test_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path) == []


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "records" / "r"
    write_run_record(folder, {"run_id": "r"})
    (folder / "run.json").write_bytes(b'{"run_id": "\xff')
    with pytest.raises(BadInput, match=r"r/run\.json: is not the record"):
        list_runs(tmp_path)


def test_nan_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_run_record(tmp_path, {"value": float("nan")})
    assert not (tmp_path / "run.json").exists()
