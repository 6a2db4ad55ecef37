"""What a run refuses before anything starts."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import preflight
from governance.errors import BadInput
from tasks import params
from tests.flows.conftest import ROOT


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"file": "data/raw/nowhere.yaml"}, "principles.file: data/raw/nowhere.yaml: there is no such file"),
        (
            {"file": "data/raw/nowhere.yaml", "pairs": 5},
            "principles.file: data/raw/nowhere.yaml: there is no such file",
        ),
        ({"pairs": 5}, "entry no-harm: field approved_by: names nobody"),
        ({"revisions": 5, "approved_by": " "}, "entry no-harm: field approved_by: names nobody"),
    ],
)
def test_principles_are_looked_at_first(
    changes: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path))
    raw = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    preflight.check(params.parse(raw, "params.yaml"))
    raw["principles"] |= changes
    with pytest.raises(BadInput, match=sentence):
        preflight.check(params.parse(raw, "params.yaml"))


@pytest.mark.parametrize(
    ("section", "key"),
    [("process", "traces"), ("process", "problems"), ("oversight", "problems"), ("oversight", "deductions")],
)
def test_files_that_dvc_looks_for_are_looked_for_first(
    section: str, key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path))
    raw = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    raw[section][key] = "data/raw/nowhere"
    with pytest.raises(BadInput, match=f"{section}.{key}: data/raw/nowhere: there is no such file"):
        preflight.check(params.parse(raw, "params.yaml"))


@pytest.mark.parametrize("length", [0, 3000])
def test_a_declaration_that_is_cut_stops_a_run(length: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DVC says nothing of a stage that its file does not have, as of one that is unchanged."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text(encoding="utf-8")[:length], encoding="utf-8")
    with pytest.raises(BadInput, match=r"dvc.yaml: declares no stage .*evaluate; restore it from git"):
        preflight.check(params.load(ROOT / "params.yaml"))


def test_a_context_that_is_too_short_is_told_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path))
    (tmp_path / "config.json").write_text('{"n_positions": 300}', encoding="utf-8")
    (tmp_path / "model.safetensors").touch()
    raw = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    raw["base"]["model"] = str(tmp_path)
    with pytest.raises(BadInput, match=r"^sft.max_length: 320 tokens, .* context of 300; lower it to 300 at most"):
        preflight.check(params.parse(raw, "params.yaml"))
    raw["process"] |= {"solutions": 5, "max_length": 301}
    raw["sft"]["max_length"] = raw["ppo"]["max_prompt_tokens"] = 200
    with pytest.raises(BadInput, match=r"^process.max_length: 301 tokens, .* context of 300"):
        preflight.check(params.parse(raw, "params.yaml"))
    raw["process"]["solutions"], raw["ppo"]["max_prompt_tokens"] = 0, 256
    raw["sft"]["max_length"] = 300
    with pytest.raises(BadInput, match=r"^ppo.max_prompt_tokens \+ max_new_tokens: 304 tokens"):
        preflight.check(params.parse(raw, "params.yaml"))
