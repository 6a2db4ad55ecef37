"""Commands as a person types them, inside the process of the test: one of its own loads libraries for seconds."""

import contextlib
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from unittest import mock

import pytest

from flows import cli


def clean_environment() -> dict[str, str]:
    """The environment of a user who activated the virtual environment and exported nothing."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ATTESTRL_", "MLFLOW_", "PREFECT_", "DVC_"))}
    return kept | {"PATH": os.pathsep.join((str(Path(sys.executable).parent), kept.get("PATH", "")))}


def attestrl(folder: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """A command that starts no stage; it leaves the environment as it was. `changes`: of the environment."""
    out, err = StringIO(), StringIO()
    with (
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, clean_environment() | changes, clear=True),
        mock.patch.object(sys, "argv", ["attestrl", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        cli.main()
    assert "Traceback" not in err.getvalue(), err.getvalue()
    return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), out.getvalue(), err.getvalue())
