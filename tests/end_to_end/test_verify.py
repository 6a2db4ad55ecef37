"""A past run made again from git, parameters and seed, by DVC alone, gives the same bytes."""

import json
from typing import Any

import pytest

from tests.end_to_end.conftest import Project

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.xdist_group("pipeline")]


def test_a_run_is_made_again_byte_for_byte(first: dict[str, Any], project: Project) -> None:
    done = project.attestrl("run", "--verify", first["run_id"], "--json", timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["same"]
    assert found["compared"] > 20
    assert not list((project.folder / ".attestrl/verify").iterdir())


def test_code_that_git_does_not_have_is_not_made_again(first: dict[str, Any], project: Project) -> None:
    file = project.folder / "tasks/splits.py"
    before = file.read_text(encoding="utf-8")
    file.write_text(before + "\n# changed\n", encoding="utf-8")
    changed = project.run("--until", "ingest")
    file.write_text(before, encoding="utf-8")
    done = project.attestrl("run", "--verify", changed["run_id"])
    assert done.returncode == 2
    assert "git does not have" in done.stderr
