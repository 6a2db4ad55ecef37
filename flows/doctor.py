"""What this machine lacks, and how to get it."""

import importlib.metadata
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flows import servers
from governance.errors import AttestError
from tasks import base, lineage, params, paths

LEAST_FREE_GB = 4


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and what to `do` where it is not ok."""

    what: str
    ok: bool
    found: str
    do: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self) | {"do": self.advice}

    @property
    def advice(self) -> str:
        """What to do now: nothing where it is ok."""
        return "" if self.ok else self.do


def examine() -> list[Finding]:
    """Look at everything that a run on one machine needs."""
    return [
        _python(),
        _packages(),
        _git(),
        _disk(),
        _home(),
        _params(),
        _checkpoints(),
        _base(),
        _tracking(),
        _orchestrator(),
        _processors(),
    ]


def show(findings: list[Finding]) -> None:
    """A table for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "what", "found", "do", box=None, pad_edge=False)
    for f in findings:
        table.add_row("[green]ok[/]" if f.ok else "[red]no[/]", f.what, f.found, f.advice)
    Console(highlight=False, soft_wrap=True).print(table)


def _python() -> Finding:
    return Finding("Python", sys.version_info >= (3, 11), sys.version.split()[0], "install Python 3.11 or later")


def _packages() -> Finding:
    """Installed versions against `requirements.lock`."""
    from packaging.requirements import Requirement

    lines = Path("requirements.lock").read_text().splitlines() if Path("requirements.lock").is_file() else []
    wrong = []
    for requirement in (Requirement(line) for line in lines if line and not line.startswith("#")):
        try:
            if not requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True):
                wrong.append(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(requirement.name)
    found = f"{len(lines)} as locked" if not wrong else f"differ from the lock: {', '.join(wrong)}"
    return Finding("packages", not wrong, found, "make install")


def _git() -> Finding:
    commit = lineage.git_commit()
    return Finding("git", commit != "none", commit, "git init, and commit the project")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    return Finding("disk", free >= LEAST_FREE_GB, f"{free:.0f} GB free", "free some space")


def _home() -> Finding:
    home = paths.home()
    nearest = next(p for p in (home, *home.parents) if p.exists())
    ok = os.access(nearest, os.W_OK)
    return Finding("state folder", ok, str(home), "make it writable, or move it with ATTESTRL_HOME")


def _params() -> Finding:
    try:
        params.load(paths.PARAMS)
    except AttestError as error:
        return Finding("params.yaml", False, str(error), "correct it")
    return Finding("params.yaml", True, "valid")


def _checkpoints() -> Finding:
    """Whether the place of the audit log's checkpoints can be read."""
    from flows import sealing

    try:
        return Finding("checkpoints", True, f"{len(sealing.notary().place.read())} signed")
    except AttestError as error:
        return Finding("checkpoints", False, str(error), "see evidence.checkpoints in params.yaml")


def _base() -> Finding:
    """Whether a run would begin with this model."""
    try:
        model = params.load(paths.PARAMS).base.model
        base.check_named(model)
    except AttestError as error:
        return Finding("base model", False, str(error), "correct base.model in params.yaml")
    return Finding("base model", True, model if Path(model).is_dir() else f"{model} (a hub name: needs a network)")


def _tracking() -> Finding:
    uri = lineage.tracking_uri()
    if not uri.startswith("http"):
        return Finding("MLflow store", True, "SQLite in the state folder" if uri.startswith("sqlite") else "a database")
    ok = servers.is_healthy(uri)
    return Finding("MLflow store", ok, uri.split("@")[-1], "start it, or unset MLFLOW_TRACKING_URI")


def _orchestrator() -> Finding:
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return Finding("orchestrator", True, "a Prefect server for each run")
    ok = servers.is_healthy(url)
    return Finding("orchestrator", ok, url.split("@")[-1], "start it, or unset PREFECT_API_URL")


def _processors() -> Finding:
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU: training runs on the CPU"
    return Finding("processors", True, f"{os.cpu_count()} CPU cores, {name}")
