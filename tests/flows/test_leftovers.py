"""What a killed run may have left on the disk is set right: DVC's files, and files under a temporary name."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows import leftovers
from governance.digest import writing
from tests.flows.conftest import ROOT
from tests.servers import program, wait_until

LOCK = (ROOT / "dvc.lock").read_bytes()
CUT = {
    "in the middle of a key": LOCK[: LOCK.rindex(b"nfiles:") + 4],
    "after a key": LOCK[: LOCK.index(b"    deps:") + len(b"    deps:\n")],
    "after the name of a stage": LOCK[: LOCK.index(b"    cmd:")],
    "in the schema's own line": LOCK[:5],
    "before its first byte": b"",
    "zeros, as after a loss of power": bytes(4096),
}


@pytest.mark.parametrize("where", CUT)
def test_a_lock_that_was_cut_is_brought_back(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path / "state"))
    leftovers.DVC_LOCK.write_bytes(LOCK)
    leftovers.keep_dvc_lock()
    leftovers.DVC_LOCK.write_bytes(CUT[where])
    leftovers.mend_dvc_lock()
    assert leftovers.DVC_LOCK.read_bytes() == LOCK


@pytest.mark.parametrize("where", CUT)
def test_a_first_lock_that_was_cut_goes(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No stage had ended before, so there is no copy; DVC refuses to read what is left, and begins where there is none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path / "state"))
    leftovers.DVC_LOCK.write_bytes(CUT[where])
    leftovers.mend_dvc_lock()
    assert not leftovers.DVC_LOCK.exists()


def test_a_whole_lock_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `dvc repro` leaves one beside the copy of another."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path / "state"))
    leftovers.DVC_LOCK.write_bytes(b"schema: '2.0'\nstages: {}\n")
    leftovers.keep_dvc_lock()
    leftovers.DVC_LOCK.write_bytes(LOCK)
    leftovers.mend_dvc_lock()
    assert leftovers.DVC_LOCK.read_bytes() == LOCK


def test_half_written_files_of_dead_processes_go(tmp_path: Path) -> None:
    code = "import os, signal, sys, pathlib; from governance.digest import writing\n"
    code += "with writing(pathlib.Path(sys.argv[1])) as f: f.write(b'half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    dead = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run.json")], cwd=ROOT, check=False)
    assert dead.returncode < 0
    (left,) = tmp_path.iterdir()
    (tmp_path / ".theirs.partial").touch()  # of nobody that we know
    with writing(tmp_path / "ours.json"):
        leftovers.remove_half_written(tmp_path)
        assert not left.exists()
        assert any(f".{os.getpid()}." in p.name for p in tmp_path.iterdir())
    assert {p.name for p in tmp_path.iterdir()} == {"ours.json", ".theirs.partial"}


def test_a_killed_dvc_holds_up_nobody_and_a_living_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock files stay; the number in them may be another process's by now, whom DVC would wait for."""
    monkeypatch.chdir(tmp_path)
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n")
    stages = Path("dvc.yaml")
    stages.write_text("stages: {a: {cmd: touch begun && sleep 60, outs: [out]}}")
    repro = [sys.executable, "-m", "dvc", "repro", "--quiet", "a"]
    with program(repro, {}) as dvc:
        wait_until(Path("begun").is_file)
        leftovers.drop_stale_rwlock()
        held = json.loads(leftovers.RWLOCK.read_text())
        assert {holder["pid"] for holder in held["write"].values()} == {dvc.pid}
        os.kill(dvc.pid, signal.SIGKILL)
        dvc.wait(timeout=60)
    with program(["sleep", "60"], {}) as other:
        text = leftovers.RWLOCK.read_text().replace(f'"pid": {dvc.pid}', f'"pid": {other.pid}')
        leftovers.RWLOCK.write_text(text)
        stages.write_text("stages: {a: {cmd: echo made > out, outs: [out]}}")
        assert subprocess.run(repro, check=False).returncode != 0
        leftovers.drop_stale_rwlock()
        done = subprocess.run(repro, capture_output=True, text=True, check=False)
    assert (done.returncode, Path("out").read_text()) == (0, "made\n"), done.stderr


@pytest.mark.parametrize("content", ["", '{"write": ', "[]", '{"read": {"a": [{"cmd": "x"}]}}'])
def test_a_damaged_list_of_readers_and_writers_goes(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    leftovers.RWLOCK.parent.mkdir(parents=True)
    leftovers.RWLOCK.write_text(content)
    leftovers.drop_stale_rwlock()
    assert not leftovers.RWLOCK.exists()


def test_objects_that_dvc_did_not_finish_go_unless_it_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.lock import make_lock

    monkeypatch.chdir(tmp_path)
    whole, half = leftovers.CACHE / "01/23456", leftovers.CACHE / "01/.EKoA6pERwi0i0Q.tmp"
    whole.parent.mkdir(parents=True)
    leftovers.REPOSITORY_LOCK.parent.mkdir()
    whole.touch()
    half.touch()
    with make_lock(str(leftovers.REPOSITORY_LOCK)):
        leftovers.drop_partial_objects()
        assert half.exists()
    leftovers.drop_partial_objects()
    assert list(whole.parent.iterdir()) == [whole]
