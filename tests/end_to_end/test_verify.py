"""A past run made again from git, parameters and seed, by DVC alone, gives the same bytes."""

import json
from typing import Any

import pytest
from filelock import FileLock

from tests.end_to_end.conftest import Project

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.xdist_group("pipeline")]


def test_a_run_is_made_again_byte_for_byte(first: dict[str, Any], project: Project) -> None:
    killed = project.folder / ".attestrl/verify/20200101T000000Z-00000000/data"  # while another was made again
    killed.mkdir(parents=True)
    with FileLock(project.folder / ".attestrl/verify.lock"):
        other = project.attestrl("run", "--verify", first["run_id"])
    assert (other.returncode, killed.exists()) == (3, True)
    assert "another run is being made again in this project" in other.stderr
    done = project.attestrl("run", "--verify", first["run_id"], "--json", timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["same"]
    assert found["compared"] > 20
    assert not (project.folder / ".attestrl/verify").exists()


def test_what_differs_is_named(first: dict[str, Any], project: Project) -> None:
    """As of a run whose base had been another one; of its stages `base` alone is made again."""
    file = project.folder / ".attestrl/records" / first["run_id"] / "run.json"
    before = file.read_text(encoding="utf-8")
    record = json.loads(before)
    for stage in record["stages"]:
        stage["outcome"] = "made" if stage["name"] == "base" else "skipped"
        stage["outputs"] = [o | {"sha256": "0" * 64} for o in stage["outputs"] if o["path"] == "data/models/base"]
    file.write_text(json.dumps(record), encoding="utf-8")
    done = project.attestrl("run", "--verify", first["run_id"])
    file.write_text(before, encoding="utf-8")
    assert done.returncode == 1, done.stderr[-2000:]
    assert "data/models/base" in done.stdout


def test_code_that_git_does_not_have_is_not_made_again(first: dict[str, Any], project: Project) -> None:
    file = project.folder / "tasks/splits.py"
    before = file.read_text(encoding="utf-8")
    file.write_text(before + "\n# changed\n", encoding="utf-8")
    changed = project.run("--until", "ingest")
    file.write_text(before, encoding="utf-8")
    done = project.attestrl("run", "--verify", changed["run_id"])
    assert done.returncode == 2
    assert "git does not have" in done.stderr
