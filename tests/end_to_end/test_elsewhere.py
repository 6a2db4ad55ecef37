"""The whole pipeline for another user than the one who installed it, with `HOME` unset, on one core."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.paths import STAGES
from tests.another_user import another_user, give
from tests.end_to_end.conftest import Project, outcomes, small_project

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.xdist_group("pipeline")]


@pytest.fixture
def user() -> dict[str, Any]:
    """Who installed nothing."""
    return another_user()


@pytest.fixture
def theirs(user: dict[str, Any], tiny_model_folder: Path, orchestrator: str) -> Iterator[Project]:
    """A project that belongs to another user, in a folder that they can reach: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = small_project(folder, tiny_model_folder, orchestrator)
        give(folder, user)
        yield project


def test_another_user_on_one_core(theirs: Project, user: dict[str, Any]) -> None:
    environment = {k: v for k, v in theirs.environment.items() if k != "HOME"}
    core = min(os.sched_getaffinity(0))
    run = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", "--json", "--params", "tiny.yaml"],
        cwd=theirs.folder,
        env=environment,
        **user,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert outcomes(json.loads(run.stdout)) == dict.fromkeys(STAGES, "made")
