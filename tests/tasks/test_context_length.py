"""A length that was raised after the model was made is told by the stage itself: `dvc repro` asks nobody before."""

import json
from pathlib import Path

import pytest

from governance.errors import BadInput
from tasks import params
from tasks.context_length import context_of
from tasks.stage import Stage

ROOT = Path(__file__).resolve().parents[2]


def test_a_stage_refuses_a_model_that_cannot_see_so_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"max_position_embeddings": 300}), encoding="utf-8")
    stage = Stage("sft", params.load(ROOT / "params.yaml"), "0" * 32)
    with pytest.raises(BadInput, match=r"^sft.max_length: 320 tokens, .* context of 300; lower it to 300 at most"):
        stage.input_model(model)


@pytest.mark.parametrize(
    ("config", "context"),
    [({"max_position_embeddings": 512}, 512), ({"n_positions": 1024}, 1024), ({"n_positions": None}, None), ({}, None)],
)
def test_the_context_of_a_configuration(config: dict[str, int], context: int | None) -> None:
    assert context_of(config) == context
