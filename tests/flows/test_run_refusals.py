"""What stops a run before a stage begins keeps its sentence and its exit code, whoever raised it."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import run
from governance.errors import MissingComponent, explained


def test_an_error_inside_the_flow_is_the_runs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of DVC outside a git repository: the flow's state must not swallow what the sentence is of."""
    from flows import pipeline

    def refused(*_: Any, **__: Any) -> Any:
        raised = MissingComponent("DVC cannot tell what has changed: x is not a git repository")
        return SimpleNamespace(is_completed=lambda: False, message=str(raised), result=lambda raise_on_failure: raised)

    monkeypatch.setattr(pipeline, "pipeline", refused)
    started: Any = SimpleNamespace(run_id="", until="ingest", parent="", outcomes=[], on_stage=None)
    with pytest.raises(MissingComponent, match="not a git repository"):
        run._through_prefect(started, str, set)


def test_a_machine_without_git_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tasks import lineage

    monkeypatch.setenv("PATH", str(tmp_path))
    assert lineage.git_commit() == "none"
    with pytest.raises(FileNotFoundError) as caught:
        subprocess.run(["git", "status"], check=False)
    assert "install it" in str(explained(caught.value))
