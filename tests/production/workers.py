"""A project as a team has it, and workers of a Prefect work pool."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import servers
from tests.another_user import give
from tests.typed import clean_environment

WORKER = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--pool"]


def publish(project: Path, origin: str, remote: str, **settings: str) -> None:
    """Give the project a DVC remote at a URL, with its settings, commit what is there, and push it to `origin`."""
    dvc, git = [sys.executable, "-m", "dvc", "remote"], ["git", "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for command in (
        [*dvc, "add", "-d", "team", remote],
        *([*dvc, "modify", "team", *setting] for setting in settings.items()),
        [*git, "remote", "add", "origin", origin],
        [*git, "add", "-A"],
        [*git, "commit", "-qm", "configured"],
        [*git, "push", "-q", "origin", "HEAD:main"],
    ):
        done = subprocess.run(
            command, cwd=project, env=clean_environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (command, done.stderr)


@contextmanager
def worker(
    folder: Path, environment: Mapping[str, str], pool: str, user: Mapping[str, Any] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker in a folder of its own, whose log and temporary files are there, too; another user's, where one is given."""
    folder.mkdir()
    if user:
        give(folder, user)
    own = dict(environment) | {"PREFECT_HOME": str(folder / "prefect"), "TMPDIR": str(folder), "HOME": str(folder)}
    own |= {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_WORKER_HEARTBEAT_SECONDS": "4"}
    own["PREFECT_LOGGING_LEVEL"] = "INFO"
    with servers.program([*WORKER, pool], own, folder / "log", folder, user) as process:
        yield process
