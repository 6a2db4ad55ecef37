"""`python -m benchmarks.oversight_models` on a tiny model and on endpoints: the command and its figures."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import oversight_models
from tests.tasks.oversight_server import oversight_server


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_model_folder: Path) -> Any:
    def run(*arguments: str) -> dict[str, Any]:
        given = ["--model", str(tiny_model_folder), "--questions", "4", "--turns", "1", "--max-new-tokens", "8"]
        monkeypatch.setattr(sys, "argv", ["oversight_models", *given, *arguments])
        oversight_models.main()
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return run


def test_every_protocol_has_its_figures_on_both_files(printed: Any) -> None:
    found = printed()
    assert found["questions"] == {"problems": 4, "deductions": 4}
    assert set(found["figures"]) == set(oversight_models.PROTOCOLS)
    for name, figures in found["figures"].items():
        assert {f"judge_accuracy/{name}{part}" for part in ("", "/problems", "/deductions")} <= figures.keys()
        assert (f"judge_accuracy/{name}_minus_direct" in figures) == (name != "direct")
        assert all(row["low"] <= row["value"] <= row["high"] for row in figures.values())
    assert found["written"]["direct"]["texts"] == 0 and found["written"]["debate"]["texts"] == 16


def test_models_behind_endpoints_take_part(printed: Any) -> None:
    """A judge whom quotes alone move hears none, so that no protocol changes anything."""
    with oversight_server() as server:
        url = f"url: '{server.url}'"
        found = printed("--judge", f"{{{url}, model: judge}}", "--expert", f"{{{url}, model: helper}}")
        assert len(server.asked("judge")) == 4 * 2 * 8
    assert (found["judge"], found["expert"]) == ("judge", "helper")
    for name, figures in found["figures"].items():
        assert figures["answers_a_or_b"]["value"] == pytest.approx(1)
        assert name == "direct" or figures[f"judge_accuracy/{name}_minus_direct"]["value"] == 0
