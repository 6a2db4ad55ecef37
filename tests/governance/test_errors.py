"""What libraries say, as a sentence that a person can act on."""

import sqlite3
from pathlib import Path

import pytest
from mlflow.exceptions import RestException

from governance.digest import write_atomic
from governance.errors import MissingComponent, explained


def test_what_a_server_refuses_is_not_taken_for_the_disk() -> None:
    refused = RestException({"error_code": "PERMISSION_DENIED", "message": "Permission denied"})
    found = explained(refused)
    assert isinstance(found, MissingComponent)
    assert str(found).startswith("the MLflow server refused: PERMISSION_DENIED: Permission denied")
    disk = explained(PermissionError(13, "Permission denied", "params.yaml"))
    assert "may not be read or written by this user" in str(disk)


def test_a_damaged_database_is_told_from_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"\xff" * 4096)
    with pytest.raises(sqlite3.DatabaseError) as caught, sqlite3.connect(tmp_path / "mlflow.db") as store:
        store.execute("select 1 from runs")
    assert "is damaged; bring it back from a backup" in str(explained(caught.value))


def test_the_file_that_was_meant_is_named(tmp_path: Path) -> None:
    (tmp_path / "evidence.zip").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_atomic(tmp_path / "evidence.zip", b"")
    assert str(explained(caught.value)) == f"{tmp_path}/evidence.zip: is a folder where a file is needed; name a file."
