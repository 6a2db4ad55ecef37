"""The command itself: start-up time, usage errors, what it needs of a project."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import typed

ROOT = Path(__file__).resolve().parents[2]


def attestrl(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_help_answers_at_once() -> None:
    seconds = []
    for _ in range(5):
        started = time.monotonic()
        assert attestrl("--help").returncode == 0
        seconds.append(time.monotonic() - started)
    assert min(seconds) < 0.5


def test_unknown_command_is_usage(tmp_path: Path) -> None:
    assert attestrl("nonsense").returncode == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("run", "--nonsense"),
        ("review", "--port", "x"),
        ("approve", "latest"),
        ("runs",),
        ("check", "poisoning", "--preferences", "absent.jsonl", "--out", "out"),
        ("evidence", "verify", "absent.zip"),
        ("restore", "absent.tar", "--to", "there"),
    ],
)
def test_a_refusal_is_one_document_too(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = typed.attestrl(tmp_path, *arguments, "--json")
    said = json.loads(done.stdout)
    assert (said["status"], said["exit_code"]) == ("failed", 2)
    assert done.returncode == 2
    assert done.stderr == f"attestrl: {said['message']}\n"


def test_an_error_that_nobody_foresaw_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows import cli, project

    def enter() -> None:
        raise ZeroDivisionError("nobody thought of it")

    monkeypatch.setattr(project, "enter", enter)
    monkeypatch.setattr(sys, "argv", ["attestrl", "runs", "--json"])
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 3
    assert "nobody thought of it" in json.loads(capsys.readouterr().out)["message"]
    (log,) = (tmp_path / "logs").iterdir()
    assert "ZeroDivisionError" in log.read_text()


def test_unknown_run_is_one_sentence() -> None:
    done = attestrl("show", "20200101T000000Z-00000000")
    assert done.returncode == 2
    assert "attestrl runs" in done.stderr
    assert "Traceback" not in done.stderr
