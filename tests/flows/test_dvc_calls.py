"""DVC and its stages as forks of a process that has their libraries loaded, and without one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows import dvc_calls
from flows.dvc_calls import Call, Warm, cold
from tasks.paths import STAGES
from tests.processes import started_by
from tests.typed import clean_environment

STAGE = """
import os, sys
from pathlib import Path

Path(sys.argv[0]).with_suffix(".out").write_text(f"{__name__} {os.environ['WHAT']} {'torch' in sys.modules}")
if os.environ["WHAT"] == "kill":
    os.kill(os.getpid(), 9)
print("for people")
sys.exit(int(os.environ.get("CODE", "0")))
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a fork is safe on Linux alone")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """One stage in a repository of its own."""
    folder = tmp_path
    (folder / "tasks").mkdir()
    (folder / "tasks/__init__.py").touch()
    (folder / "tasks/a.py").write_text(STAGE, encoding="utf-8")
    declared = (
        "stages:\n  a:\n    cmd: python -m tasks.a\n    deps: [tasks/a.py]\n    outs: [{tasks/a.out: {cache: false}}]\n"
    )
    (folder / "dvc.yaml").write_text(declared, encoding="utf-8")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, check=True)
    return folder


def run(call: Call, what: str, code: int = 0) -> int:
    """Run the stage; DVC's exit code."""
    environment = clean_environment() | {"WHAT": what, "CODE": str(code)}
    return call(["repro", "--quiet", "--force", "--single-item", "a"], environment)


def left(project: Path) -> str:
    return (project / "tasks/a.out").read_text(encoding="utf-8")


def test_forks(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    with dvc_calls.caller(STAGES) as call:
        assert isinstance(call, Warm)
        assert run(call, "refused", code=3) != 0
        assert not started_by(os.getpid(), "flows.warm_dvc"), "nothing follows a first stage that refuses its data"
        assert run(call, "early") == 0  # the libraries are not loaded yet
        assert left(project) == "__main__ early False"
        wait_until_ready(call)
        assert run(call, "fork") == 0
        assert left(project) == "__main__ fork True"
        assert run(call, "fork", code=3) != 0
        assert run(call, "kill") != 0
        assert run(call, "again") == 0, "what one did is nothing to the next"
        os.kill(call.process.pid, signal.SIGKILL)
        assert run(call, "gone") == -signal.SIGKILL
        assert run(call, "without") == 0
        assert left(project) == "__main__ without False"


def test_what_would_load_as_much_waits_instead(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    with dvc_calls.caller(STAGES[-2:]) as call:
        assert run(call, "first") == 0
        assert left(project) == "__main__ first True"
    with dvc_calls.caller(STAGES[-2:]) as call:
        assert isinstance(call, Warm)
        os.kill(call.process.pid, signal.SIGKILL)  # as beside an accelerator, where it ends by itself
        for what in ("alone", "still alone"):
            assert run(call, what) == 0
            assert left(project) == f"__main__ {what} False"


def wait_until_ready(call: Warm) -> None:
    deadline = time.monotonic() + 120
    while not call.ready():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("stages", [(), STAGES[-dvc_calls.FEW :], STAGES[: dvc_calls.FEW + 1]])
def test_few_stages_load_for_themselves(stages: tuple[str, ...]) -> None:
    """Also those that are left after the first of all, which loads nothing."""
    with dvc_calls.caller(stages) as call:
        assert call is cold
