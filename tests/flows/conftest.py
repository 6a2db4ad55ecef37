"""The command as a person types it, in a project folder made for the test."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def attestrl(folder: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """`changes`: of the environment."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ATTESTRL_", "MLFLOW_"))}
    environment |= {"PYTHONPATH": str(ROOT)} | changes
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture
def empty_project(tmp_path: Path) -> Path:
    """A project folder without data and without runs."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy2(ROOT / name, folder / name)
    return folder
