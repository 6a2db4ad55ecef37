"""What libraries say, as a sentence that a person can act on."""

from mlflow.exceptions import RestException

from governance.errors import MissingComponent, explained


def test_what_a_server_refuses_is_not_taken_for_the_disk() -> None:
    refused = RestException({"error_code": "PERMISSION_DENIED", "message": "Permission denied"})
    found = explained(refused)
    assert isinstance(found, MissingComponent)
    assert str(found).startswith("the MLflow server refused: PERMISSION_DENIED: Permission denied")
    disk = explained(PermissionError(13, "Permission denied", "params.yaml"))
    assert "may not be read or written by this user" in str(disk)
