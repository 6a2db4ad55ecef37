"""The command itself: start-up time, usage errors, what it needs of a project."""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def attestrl(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_help_answers_at_once() -> None:
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        assert attestrl("--help").returncode == 0
        seconds.append(time.monotonic() - started)
    assert min(seconds) < 0.5


def test_unknown_command_is_usage(tmp_path: Path) -> None:
    assert attestrl("nonsense").returncode == 2


def test_unknown_run_is_one_sentence() -> None:
    done = attestrl("show", "20200101T000000Z-00000000")
    assert done.returncode == 2
    assert "attestrl runs" in done.stderr
    assert "Traceback" not in done.stderr
