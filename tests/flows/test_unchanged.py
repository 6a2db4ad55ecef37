"""When DVC need not be asked again whether anything has changed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import stages, unchanged
from governance.errors import MissingComponent
from tasks import paths

DECLARED = """stages:
  ingest:
    cmd: cp -r data/raw data/interim
    deps: [data/raw, code.py]
    params: [seed]
    outs: [data/interim]
"""
RAW, OUT, CODE = Path("data/raw/pairs.jsonl"), Path("data/interim/pairs.jsonl"), Path("code.py")


def dvc(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose one stage DVC has run."""
    folder = tmp_path_factory.mktemp("made")
    for file, text in ((RAW, "one\n"), (CODE, "1\n"), (paths.PARAMS, "seed: 1\n"), (Path("dvc.yaml"), DECLARED)):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        dvc("init", "--quiet", "--no-scm")
        dvc("repro", "--quiet")
    return folder


@pytest.fixture
def project(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """It, long after its files were written; the current folder."""
    monkeypatch.chdir(made)
    monkeypatch.setenv("ATTESTRL_HOME", str(made / ".attestrl"))
    monkeypatch.setattr(unchanged, "COARSE_SECONDS", 0.0)
    time.sleep(0.05)
    return made


def is_asked(monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether DVC is asked what has changed."""
    asked: list[Any] = []

    def started(command: list[str], **how: Any) -> subprocess.Popen[str]:
        asked.append(command)
        return subprocess.Popen(command, **how)

    with monkeypatch.context() as patch:
        patch.setattr(stages, "subprocess", type("S", (), {"Popen": started, "PIPE": subprocess.PIPE}))
        with stages.asked_for_changes() as changes:
            changes()
    return bool(asked)


def rewrite(file: Path, text: str) -> Callable[[], None]:
    """Other content of the same size with the time of the old one, which DVC takes for the same."""

    def change() -> None:
        before = file.stat()
        file.write_text(text)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    return change


def test_an_answer_holds_until_a_file_is_touched(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stages.nothing_has_changed()
    assert not is_asked(monkeypatch)
    CODE.touch()  # as it was, which only DVC can tell
    time.sleep(0.05)
    assert is_asked(monkeypatch)
    assert not is_asked(monkeypatch)


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        (rewrite(RAW, "two\n"), rewrite(RAW, "one\n")),
        (rewrite(CODE, "2\n"), rewrite(CODE, "1\n")),
        (rewrite(paths.PARAMS, "seed: 2\n"), rewrite(paths.PARAMS, "seed: 1\n")),
        (rewrite(OUT, "two\n"), rewrite(OUT, "one\n")),
        (lambda: OUT.rename("aside"), lambda: Path("aside").rename(OUT)),
        (lambda: CODE.rename("aside"), lambda: Path("aside").rename(CODE)),
        (lambda: RAW.with_name("more").touch(), lambda: RAW.with_name("more").unlink()),
    ],
    ids=["input", "code", "parameters", "output", "output gone", "code gone", "input more"],
)
def test_what_changes_is_seen(project: Path, change: Callable[[], Any], undo: Callable[[], Any]) -> None:
    unchanged.keep(unchanged.look())
    assert unchanged.holds()
    change()
    try:
        assert not unchanged.holds()
    finally:
        undo()


def test_what_has_changed_is_not_remembered_as_unchanged(project: Path) -> None:
    CODE.write_text("22\n")
    try:
        assert not stages.nothing_has_changed()
        assert not unchanged.holds()
    finally:
        CODE.write_text("1\n")


def test_a_new_dvcignore_and_another_dvc_are_seen(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unchanged.keep(unchanged.look())
    assert unchanged.holds()
    ignoring = Path("data/.dvcignore")
    ignoring.write_text("*.tmp\n")
    assert not unchanged.holds()
    ignoring.unlink()
    assert unchanged.holds()
    monkeypatch.setattr(unchanged, "version", lambda _: "4.0.0")
    assert not unchanged.holds()


def test_what_was_just_written_is_not_remembered(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unchanged, "COARSE_SECONDS", 60.0)
    CODE.touch()
    assert stages.nothing_has_changed()
    assert is_asked(monkeypatch)


def test_behind_a_link_to_a_folder_nobody_looks(project: Path) -> None:
    link = RAW.with_name("elsewhere")
    link.symlink_to(project, target_is_directory=True)
    try:
        assert unchanged.look() is None
    finally:
        link.unlink()


def test_where_dvc_cannot_tell_a_run_may_make_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path / ".attestrl"))
    assert not stages.nothing_has_changed()
    with pytest.raises(MissingComponent), stages.asked_for_changes() as changes:
        changes()
