"""`attestrl ledger` as a person types it, on a log of a project."""

import json
import re
from pathlib import Path

import pytest
from filelock import FileLock

from governance.entry import Event
from governance.ledger import Ledger
from tests.typed import attestrl


@pytest.fixture
def project(empty_project: Path) -> Path:
    ledger = Ledger(empty_project / ".attestrl/ledger.jsonl")
    for i in range(3):
        ledger.append(Event.STAGE_MADE, run_id="r", actor="user:a", subject_digests={}, data={"i": i})
    return empty_project


def test_from_the_first_key_to_a_forged_log(project: Path) -> None:
    found = json.loads(attestrl(project, "ledger", "verify", "--json").stdout)
    assert (found["ok"], found["verdict"], found["entries"], found["covered"]) == (False, "end not signed", 3, 0)
    assert "1 to 3: under no signature yet" in found["notices"][0]

    assert attestrl(project, "ledger", "rotate-key", "--reason", " ").returncode == 2
    assert attestrl(project, "ledger", "rotate-key", "--reason", "set up").returncode == 0
    assert attestrl(project, "ledger", "revoke-key", "--reason", "laptop lost").returncode == 0
    assert attestrl(project, "ledger", "revoke-key", "ffff", "--reason", "x").returncode == 2
    done = attestrl(project, "ledger", "verify")
    assert done.returncode == 0, done.stdout
    assert "6 entries, 6 under a signed checkpoint, the chain is whole." in done.stdout
    types = [e.type for e in Ledger(project / ".attestrl/ledger.jsonl").entries()]
    assert types[3:] == [Event.KEY_MADE, Event.KEY_ROTATED, Event.KEY_REVOKED]

    keys = json.loads((project / ".attestrl/keys/signing.json").read_text())
    public = project / "auditor.pem"
    public.write_text(keys[-1]["public"])
    assert attestrl(project, "ledger", "verify", "--key", "auditor.pem").returncode == 0
    public.write_text(keys[0]["public"])
    assert attestrl(project, "ledger", "verify", "--key", "auditor.pem").returncode == 1
    assert attestrl(project, "ledger", "verify", "--key", "absent.pem").returncode == 2

    log = project / ".attestrl/ledger.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))
    done = attestrl(project, "ledger", "verify")
    assert done.returncode == 1
    assert "line 3: 4 entries at the end are gone that checkpoint 000000000006" in done.stdout


def test_an_end_that_nobody_signed_is_no_verified_log(project: Path) -> None:
    """Whoever can write the log can rewrite what stands after the last checkpoint: only while a run is under way is that
    to be expected."""
    assert attestrl(project, "ledger", "rotate-key", "--reason", "set up").returncode == 0
    ledger = Ledger(project / ".attestrl/ledger.jsonl")
    forged = {"type": Event.REJECTED, "run_id": "r", "actor": "user:b", "subject_digests": {}, "data": {}}
    ledger.append(**forged)
    done = attestrl(project, "ledger", "verify")
    assert (done.returncode, "nobody vouches for its end" in done.stdout) == (1, True), done.stdout
    assert "line 5: under no signature yet" in done.stdout
    with FileLock(project / ".attestrl/run.lock"):
        done = attestrl(project, "ledger", "verify")
    assert (done.returncode, "a run is under way" in done.stdout) == (0, True), done.stdout


def test_checkpoints_and_key_where_params_say(project: Path) -> None:
    elsewhere = project / "volume"
    params = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(params.replace("checkpoints: null", f"checkpoints: {elsewhere}"))
    assert attestrl(project, "ledger", "rotate-key", "--reason", "set up").returncode == 0
    assert len(list(elsewhere.iterdir())) == 1
    elsewhere.rename(project / "gone")
    assert attestrl(project, "ledger", "verify").returncode == 1
    (project / "gone").rename(elsewhere)
    params = (project / "params.yaml").read_text()
    for wrong, code in (
        ("checkpoints: nowhere://bucket/x", 2),
        ("checkpoints: https://somebody:secret@host/x.git", 2),
        ("checkpoints: gcs://bucket/x", 3),  # its package is not installed here
        (f"checkpoints: {project}/absent.git", 3),
        ("signing_key: absent.pem", 2),
    ):
        name = wrong.partition(":")[0]
        (project / "params.yaml").write_text(re.sub(rf"{name}: \S+", wrong, params))
        done = attestrl(project, "ledger", "rotate-key", "--reason", "set up")
        assert done.returncode == code, done.stderr
        assert "secret" not in done.stderr
        assert f"evidence.{name}" in done.stderr
