"""What a run in a worktree is made of, what comes back from it, and what a kill leaves of it."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows import leftovers, sealing, worktrees
from governance.errors import BadInput
from tasks import paths
from tests.flows.conftest import ROOT

CODE, INPUT, OTHER = Path("tasks/stage.py"), Path("data/raw/pairs.jsonl"), Path("data/raw/untracked.jsonl")


def git(*arguments: str) -> str:
    named = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *arguments]
    return subprocess.run(named, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in a folder of its repository, that DVC knows; the current folder."""
    folder = tmp_path / "repository" / "Projekt № 1"
    for file, text in ((CODE, "committed"), (INPUT, "committed"), (Path(".dvc/config"), "")):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    (folder / ".gitignore").write_text(".attestrl/\nconfig.local\n*.csv\n")
    for name in ("params.yaml", "dvc.yaml", "dvc.lock"):
        shutil.copy2(ROOT / name, folder / name)
    (folder / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ATTESTRL_HOME", str(folder / ".attestrl"))
    git("init", "-q", "..")
    git("add", "-A")
    git("commit", "-qm", "x")
    return folder


def queued() -> worktrees.Queued:
    found = worktrees.queue()
    assert found is not None
    return found


def nothing_is_left(folder: Path) -> bool:
    return not list((folder / ".attestrl/worktrees").glob("*")) and len(git("worktree", "list").splitlines()) == 1


def test_code_and_parameters_are_those_of_the_queue_and_inputs_those_of_the_turn(repository: Path) -> None:
    parameters = paths.PARAMS.read_text()
    paths.PARAMS.write_text(parameters + "# when it was queued\n")
    CODE.write_text("being edited")
    waiting = queued()
    assert waiting.left_out == [CODE.as_posix()]
    paths.PARAMS.write_text(parameters + "# of a later run\n")
    CODE.write_text("committed later")
    git("commit", "-qam", "later")
    assert worktrees.commit(waiting) == waiting.commit
    for file in (INPUT, OTHER):
        file.write_text("as it stands")
    assert worktrees.commit(waiting) == waiting.commit + "+changes"
    with worktrees.worktree("a-run", waiting):
        assert Path.cwd() == repository / ".attestrl/worktrees/a-run" / repository.name
        assert paths.PARAMS.read_text() == parameters + "# when it was queued\n"
        assert [f.read_text() for f in (CODE, INPUT, OTHER)] == ["committed", "as it stands", "as it stands"]
        for file in (INPUT, OTHER, CODE):
            file.write_text("the run's own")
    assert Path.cwd() == repository
    assert [f.read_text() for f in (CODE, INPUT, OTHER)] == ["committed later", "as it stands", "as it stands"]
    assert nothing_is_left(repository)


def test_the_projects_folder_is_what_a_run_will_be_until_it_is_changed(repository: Path) -> None:
    waiting = queued()
    parameters, code = paths.PARAMS.read_text(), CODE.read_text()
    assert worktrees.is_here(waiting)
    for file in (INPUT, OTHER):
        file.write_text("read as it stands")
    assert worktrees.is_here(waiting)
    for file, text in ((paths.PARAMS, parameters), (CODE, code)):
        file.write_text(text + "# being edited\n")
        assert not worktrees.is_here(waiting)
        file.write_text(text)
        assert worktrees.is_here(waiting)
    CODE.write_text("committed later")
    git("commit", "-qam", "later")
    assert not worktrees.is_here(waiting)


def test_inputs_that_git_ignores_and_places_beside_the_project_are_found(repository: Path) -> None:
    (repository.parent / "keys").mkdir()
    Path("data/raw/votes.csv").write_text("ignored by git")
    text = paths.PARAMS.read_text().replace("votes: null", "votes: data/raw/votes.csv", 1)
    text = text.replace("checkpoints: null", "checkpoints: ../witness").replace(
        "signing_key: null", "signing_key: ../k.pem"
    )
    paths.PARAMS.write_text(text)
    with worktrees.worktree("a-run", queued()):
        assert Path("data/raw/votes.csv").read_text() == "ignored by git"
        assert str(vars(sealing.notary().place)["path"]) == str(repository / "../witness")
    assert paths.root() == repository


def test_an_input_outside_the_project_needs_its_whole_name(repository: Path) -> None:
    (repository.parent / "votes.csv").write_text("x")
    before = paths.PARAMS.read_text()
    paths.PARAMS.write_text(before.replace("votes: null", "votes: ../votes.csv", 1))
    with pytest.raises(BadInput, match=r"\.\./votes\.csv: is outside"), worktrees.worktree("a-run", queued()):
        raise AssertionError
    assert nothing_is_left(repository)
    paths.PARAMS.write_text(before.replace("votes: null", f"votes: {repository.parent / 'votes.csv'}", 1))
    with worktrees.worktree("a-run", queued()):
        pass


def test_what_a_refusing_stage_wrote_and_new_labels_come_back(repository: Path) -> None:
    with worktrees.worktree("a-run", queued()):
        for file in (paths.report("validate") / "quarantine.jsonl", paths.ROUNDS / "round-1.jsonl"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("rows")
    assert (paths.report("validate") / "quarantine.jsonl").read_text() == "rows"
    assert (paths.ROUNDS / "round-1.jsonl").read_text() == "rows"


def test_a_killed_runs_worktree_is_taken_over(repository: Path) -> None:
    leftovers.keep_dvc_lock()
    code = "import os, pathlib, signal\nfrom flows import worktrees\n"
    code += "with worktrees.worktree('dead', worktrees.queue()):\n    pathlib.Path('dvc.lock').write_text('schema: ')\n"
    code += "    r = pathlib.Path('data/reports/ppo'); r.mkdir(parents=True); (r / 'half').touch()\n"
    code += "    os.kill(os.getpid(), signal.SIGKILL)\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == -signal.SIGKILL
    assert not nothing_is_left(repository)
    worktrees.take_over()
    assert leftovers.DVC_LOCK.read_text() == "schema: '2.0'\nstages: {}\n"
    assert (paths.report("ppo") / "half").is_file()
    assert nothing_is_left(repository)


def test_a_project_that_git_does_not_have_is_worked_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy2(ROOT / "params.yaml", "params.yaml")
    assert worktrees.queue() is None
