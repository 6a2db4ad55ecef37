"""A project in one file, and out of it elsewhere: history, ids, evidence and models are those of before."""

import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from governance.digest import sha256_path
from tasks.paths import STAGES
from tests.end_to_end.conftest import Project, digests, outcomes

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.xdist_group("pipeline")]


@pytest.fixture(scope="module")
def archive(first: dict[str, Any], project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("backups") / "project.tar"
    done = project.attestrl("backup", "--out", str(file))
    assert done.returncode == 0, done.stderr
    assert file.stat().st_mode & 0o077 == 0  # keys are in it
    return file


def test_elsewhere_it_is_the_same_project(
    first: dict[str, Any], project: Project, archive: Path, tmp_path: Path
) -> None:
    there = Project(tmp_path / "an other place", project.orchestrator)
    done = project.attestrl("restore", str(archive), "--to", str(there.folder))
    assert done.returncode == 0, done.stderr
    runs = [json.loads(p.attestrl("runs", "--json").stdout) for p in (project, there)]
    assert runs[0] == runs[1]
    assert there.attestrl("ledger", "verify").returncode == 0
    ledger = ".attestrl/ledger.jsonl"
    assert sha256_path(there.folder / ledger) == sha256_path(project.folder / ledger)
    record = there.run()
    assert (record["status"], outcomes(record)) == ("done", dict.fromkeys(STAGES, "cached"))
    approved = there.attestrl("approve", record["run_id"], "--reason", "restored")  # reads the policy from the registry
    assert approved.returncode == 0, approved.stderr
    assert digests(record) == digests(json.loads(project.attestrl("show", "latest", "--json").stdout))


def test_a_cache_outside_the_project_is_named_and_used_again(
    first: dict[str, Any], project: Project, tmp_path: Path
) -> None:
    theirs, shared = Project(tmp_path / "theirs", project.orchestrator), tmp_path / "shared"
    shutil.copytree(project.folder, theirs.folder, symlinks=True)
    shutil.move(theirs.folder / ".dvc/cache", shared)
    assert theirs.python("-m", "dvc", "cache", "dir", "--local", str(shared)).returncode == 0
    done = theirs.attestrl("backup", "--out", str(tmp_path / "project.tar"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cache"] == str(shared)
    assert not any(name.startswith("cache/") for name in json.loads(done.stdout)["files"])

    shared.rename(tmp_path / "away")
    there = Project(tmp_path / "there", project.orchestrator)
    restore = ("restore", str(tmp_path / "project.tar"), "--to", str(there.folder))
    refused = theirs.attestrl(*restore)
    assert (refused.returncode, there.folder.exists()) == (3, False)
    assert f"{shared}: the project's DVC cache" in refused.stderr
    (tmp_path / "away").rename(shared)
    done = theirs.attestrl(*restore)
    assert done.returncode == 0, done.stderr
    assert digests(json.loads(there.attestrl("show", "latest", "--json").stdout)) == digests(first)
    assert there.run()["status"] == "done"


def test_what_is_damaged_leaves_nothing(project: Project, archive: Path, tmp_path: Path) -> None:
    content = bytearray(archive.read_bytes())
    middle = content.index(b'"seq":0')
    content[middle : middle + 7] = b'"seq":9'
    (tmp_path / "edited.tar").write_bytes(content)
    (tmp_path / "cut.tar").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.tar").write_text("no archive")
    for name in ("edited", "cut", "text", "absent"):
        done = project.attestrl("restore", str(tmp_path / f"{name}.tar"), "--to", str(tmp_path / "out"))
        assert done.returncode == 2, (name, done.stderr)
        assert not (tmp_path / "out").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.tar", "edited.tar", "text.tar"]
    full = project.attestrl("restore", str(archive), "--to", str(tmp_path))
    assert full.returncode == 2
    assert "not empty" in full.stderr


def test_names_that_lead_out_are_refused(project: Project, tmp_path: Path) -> None:
    file = tmp_path / "evil.tar"
    (tmp_path / "x").write_text("x")
    with tarfile.open(file, "w") as tar:
        tar.add(tmp_path / "x", arcname="../outside.txt")
    done = project.attestrl("restore", str(file), "--to", str(tmp_path / "deep/out"))
    assert done.returncode == 2
    assert not (tmp_path / "deep/outside.txt").exists()
    with tarfile.open(file, "w") as tar:
        link = tarfile.TarInfo("state")
        link.type, link.linkname = tarfile.SYMTYPE, os.sep
        tar.addfile(link)
    assert project.attestrl("restore", str(file), "--to", str(tmp_path / "deep/out")).returncode == 2
