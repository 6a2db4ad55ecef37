"""Another user of this machine, as whom tests run programs."""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

NAME = "nobody"


def another_user() -> dict[str, Any]:
    """What `subprocess` is told to run a program as them; skips where that cannot be, or they cannot use this interpreter and its
    packages, as one in a closed home folder."""
    if os.getuid() != 0:
        pytest.skip("only root can run a command as another user")
    user = pwd.getpwnam(NAME)
    options: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    try:
        done = subprocess.run([sys.executable, "-c", "import mlflow"], **options, capture_output=True, check=False)
    except PermissionError:
        pytest.skip(f"{NAME} may not use this interpreter")
    if done.returncode != 0:
        pytest.skip(f"{NAME} may not use the packages of this interpreter")
    return options


def give(folder: Path, user: Mapping[str, Any]) -> None:
    """Make a folder, with all that is in it, theirs."""
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, user["user"], user["group"])
