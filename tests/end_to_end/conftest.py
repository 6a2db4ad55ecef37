"""A copy of the project with a shrunken configuration, run through the command that a user types."""

import json
import random
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from governance.entry import Entry
from governance.erasure import holders
from governance.ledger import Ledger
from tests import typed
from tests.conftest import give_store
from tests.end_to_end.kept import ROOT, files, kept

PAIRS = 320
FOLDER = "Projekt für Ärzte № 1"  # spaces and letters beyond ASCII


@dataclass(frozen=True)
class Project:
    """A project folder and the ways to type a command in it."""

    folder: Path
    orchestrator: str  # URL of a Prefect server's API

    @property
    def environment(self) -> dict[str, str]:
        """Of a user whose team has a Prefect server, which saves every command the start of one of its own."""
        return typed.clean_environment() | {"PREFECT_API_URL": self.orchestrator}

    def typed(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command that starts no stage, inside this process."""
        return typed.attestrl(self.folder, *arguments, PREFECT_API_URL=self.orchestrator)

    def attestrl(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.python("-m", "flows.cli", *arguments, **options)

    def python(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        usual = {"cwd": self.folder, "env": self.environment, "timeout": 300}
        command = [sys.executable, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **(usual | options))
        assert "Traceback" not in done.stderr + done.stdout, done.stderr[-4000:]
        return done

    def run(self, *arguments: str, **options: Any) -> dict[str, Any]:
        done = self.attestrl("run", "--json", *arguments, **options)
        assert done.stdout, done.stderr[-4000:]
        return json.loads(done.stdout)


def copy_project(to: Path) -> Path:
    """Tracked and new files of the project, as a git repository of their own."""
    for name in files():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, to / name)
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *command], cwd=to, check=True)
    return to


def small_project(to: Path, model: Path, orchestrator: str) -> Project:
    """A project with few real pairs and three tiny base models."""
    folder = copy_project(to / FOLDER)
    for name, factor in (("a", 1.0), ("b", 1.01), ("c", 1.02)):
        base = shutil.copytree(model, folder / "data/raw/tiny" / name)
        weights = load_file(model / "model.safetensors")
        save_file({k: v * factor for k, v in weights.items()}, base / "model.safetensors", metadata={"format": "pt"})
    lines = (ROOT / "data/raw/hh_rlhf/pairs.jsonl").read_text(encoding="utf-8").splitlines()[:PAIRS]
    (folder / "data/raw/hh_rlhf/small.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.copy2(Path(__file__).parent / "tiny.yaml", folder / "tiny.yaml")
    return Project(folder, orchestrator)


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, orchestrator: str) -> Project:
    """A project that never ran, but for its MLflow store."""
    project = small_project(tmp_path_factory.mktemp("bad input"), tiny_model_folder, orchestrator)
    give_store(project.folder)
    return project


VOTES = "data/raw/vendor/votes.csv"
PEOPLE = "data/raw/vendor/people.csv"
SOURCES = ("--set", f"ingest.votes={VOTES}", "--set", f"ingest.annotators={PEOPLE}")
UNTIL_ANNOTATORS = ("--params", "tiny.yaml", *SOURCES, "--until", "annotators")


@pytest.fixture(scope="session")
def vendor_made(tiny_model_folder: Path, orchestrator: str) -> Project:
    """A project with a vendor's votes and a DVC remote beside it, after a run. Copy it with `copied`."""

    def make(folder: Path) -> None:
        project = small_project(folder, tiny_model_folder, orchestrator)
        give_store(project.folder)
        rng = random.Random(0)
        lines = (project.folder / "data/raw/hh_rlhf/small.jsonl").read_text(encoding="utf-8").splitlines()
        items = [json.loads(line)["id"] for line in lines]
        rows = [f"{i},ann-secret-{k},{int(rng.random() < 0.8)}" for i in items for k in range(12) if rng.random() < 0.5]
        (project.folder / "data/raw/vendor").mkdir()
        (project.folder / VOTES).write_text("item_id,annotator_id,choice\n" + "\n".join(rows) + "\n", encoding="utf-8")
        people = "".join(f"ann-secret-{k},{'north' if k else 'south'},{20 + k}\n" for k in range(12))
        (project.folder / PEOPLE).write_text("annotator_id,country,age\n" + people, encoding="utf-8")
        record = project.run(*UNTIL_ANNOTATORS)
        assert record["status"] == "done", record["message"]
        for command in (("remote", "add", "-d", "store", "../store"), ("push", "-q")):
            done = project.python("-m", "dvc", *command)
            assert done.returncode == 0, done.stderr

    return Project(kept("vendor", make) / FOLDER, orchestrator)


def copied(project: Project, to: Path) -> Project:
    """The project and what lies beside it; its MLflow store writes into the copy."""
    shutil.copytree(project.folder.parent, to, symlinks=True)
    copy = Project(to / project.folder.name, project.orchestrator)
    before, now = ((p.folder / ".attestrl").as_uri() for p in (project, copy))
    with sqlite3.connect(copy.folder / ".attestrl/mlflow.db") as store:
        for place in ("experiments.artifact_location", "runs.artifact_uri", "logged_models.artifact_location"):
            table, column = place.split(".")
            store.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (before, now))
    return copy


def names(project: Project, text: str) -> list[str]:
    """Files that the software wrote and that hold a text, the remote's among them."""
    folders = [project.folder / ".dvc", project.folder / ".attestrl"]
    folders += [p for p in (project.folder / "data").iterdir() if p.name != "raw"]
    found = [p for p, _ in holders([*folders, project.folder.parent / "store"], text)]
    return [p.relative_to(project.folder.parent).as_posix() for p in found]


def entries(project: Project, *types: str) -> list[Entry]:
    """Entries of the audit log of some types."""
    return [e for e in Ledger(project.folder / ".attestrl/ledger.jsonl").entries() if e.type in types]


def half_written(folder: Path) -> list[Path]:
    """Files and folders under a temporary name."""
    return [p for p in folder.rglob("*") if p.name.endswith((".partial", ".tmp"))]


def outcomes(record: dict[str, Any]) -> dict[str, str]:
    return {s["name"]: s["outcome"] for s in record["stages"]}


def made(record: dict[str, Any]) -> list[str]:
    return [name for name, outcome in outcomes(record).items() if outcome == "made"]


def mlflow_ids(record: dict[str, Any]) -> dict[str, str]:
    return {s["name"]: s["mlflow_run_id"] for s in record["stages"]}


def digests(record: dict[str, Any]) -> dict[str, str]:
    """SHA-256 of the tables that are trained on and of every model."""
    outputs = {o["path"]: o["sha256"] for s in record["stages"] for o in s["outputs"]}
    return {p: d for p, d in outputs.items() if p.startswith(("data/processed/", "data/models/"))}
