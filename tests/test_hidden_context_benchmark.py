"""`python -m benchmarks.hidden_context` on few votes: the command and its figures, not what they say."""

import json
import sys

import pytest

from benchmarks import hidden_context


def test_every_figure_is_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {"TRAINED": 96, "DEV": 32, "PROMPTS": 6}.items():
        monkeypatch.setattr(hidden_context, name, value)
    monkeypatch.setattr(sys, "argv", ["hidden_context", "--seeds", "2", "--n", "4"])
    hidden_context.main()
    printed = json.loads(capsys.readouterr().out)
    assert printed["simulated"] and printed["seeds"] == [0, 1] and printed["n"] == 4
    figures = printed["figures"]
    for crowd in ("two groups", "one mind"):
        assert {f"{crowd}/{name}" for name in ("auroc of prompts", "auroc of responses", "r2")} <= figures.keys()
    for how in ("mean", "quantile 0.25", "quantile 0.1"):
        average, worse = (figures[f"best of 4/{how}/{to}"]["mean"] for to in ("on average", "worse half"))
        assert worse <= average
    assert all(row["low"] <= row["mean"] <= row["high"] for row in figures.values())
