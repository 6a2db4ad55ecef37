"""The protocol that the documentation adds: its file, its test, and its entry in the schema, applied to a copy and run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from tests.conftest import ROOT, give_store
from tests.tasks.test_oversight_stage import ON, PAIRS, TRANSCRIPTS


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code with the diff of docs/oversight.md applied, which names three files and no more."""
    page = (ROOT / "docs/oversight.md").read_text(encoding="utf-8")
    diff = page.split("### Adding a protocol")[1].split("```diff\n")[1].split("```")[0]
    files = ("tasks/oversight/double_consultancy.py", "tests/tasks/oversight/test_double_consultancy.py")
    assert {line[6:] for line in diff.splitlines() if line.startswith("+++ ")} == {*files, "tasks/training_params.py"}
    folder = tmp_path_factory.mktemp("added")
    for name in ("governance", "tasks", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", "pyproject.toml"):
        shutil.copy2(ROOT / name, folder / name)
    subprocess.run(["git", "apply", "-"], input=diff, text=True, cwd=folder, check=True)
    return folder


def python(code: Path, folder: Path, *arguments: str) -> None:
    """Run Python in a folder with that code."""
    environment = os.environ | {"PYTHONPATH": str(code), "ATTESTRL_HOME": str(folder / ".attestrl")}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_own_test_passes_and_dvc_names_what_it_reads(added: Path) -> None:
    tests = ("tests/tasks/oversight/test_double_consultancy.py", "tests/test_layering.py")
    python(added, added, "-m", "pytest", "-q", "-p", "no:xdist", *tests)


@pytest.mark.slow
def test_the_stage_makes_pairs_by_it(added: Path, trained_project: Path, tmp_path: Path) -> None:
    project = shutil.copytree(trained_project, tmp_path / "project")
    give_store(project)
    settings = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    settings["oversight"] |= ON | {"protocol": "double_consultancy"}
    (project / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    python(added, project, "-m", "tasks.reward")
    table = pl.read_parquet(project / PAIRS)
    assert table.height > 0 and set(table["protocol"]) == {"double_consultancy"}
    read = [json.loads(line) for line in (project / TRANSCRIPTS).read_bytes().splitlines()]
    said = [{s["side"] for s in r["transcript"]} for r in read if r["protocol"] == "double_consultancy"]
    assert {0, 1} in said
    record = json.loads((project / "data/reports/reward/record.json").read_text(encoding="utf-8"))
    assert "by double_consultancy, and alone on" in record["notes"]["oversight"]["said"]
    assert record["metrics"]["oversight/judge_accuracy/double_consultancy"] is not None
