"""The whole pipeline for another user than the one who installed it, with `HOME` unset, on one core."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.paths import STAGES
from tests.end_to_end.conftest import Project, outcomes, small_project

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.xdist_group("pipeline")]
OTHER = "nobody"


def _may_run_python(user: pwd.struct_passwd) -> bool:
    """Whether that user can reach the interpreter and the packages: an installation in a home folder may be closed."""
    command = [sys.executable, "-c", "import prefect"]
    options: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    try:
        return subprocess.run(command, **options, capture_output=True, check=False).returncode == 0
    except PermissionError:
        return False


@pytest.fixture
def theirs(tiny_model_folder: Path, orchestrator: str) -> Iterator[Project]:
    """A project that belongs to another user, in a folder that they can reach: pytest's own are closed to others."""
    if os.getuid() != 0:
        pytest.skip("only root can run a command as another user")
    user = pwd.getpwnam(OTHER)
    if not _may_run_python(user):
        pytest.skip(f"{OTHER} may not use this interpreter")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = small_project(folder, tiny_model_folder, orchestrator)
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, user.pw_uid, user.pw_gid)
        yield project


def test_another_user_on_one_core(theirs: Project) -> None:
    user = pwd.getpwnam(OTHER)
    environment = {k: v for k, v in theirs.environment.items() if k != "HOME"}
    core = min(os.sched_getaffinity(0))
    run = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", "--json", "--params", "tiny.yaml"],
        cwd=theirs.folder,
        env=environment,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert outcomes(json.loads(run.stdout)) == dict.fromkeys(STAGES, "made")
