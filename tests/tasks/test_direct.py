"""The stage `ppo` with a direct method: what it reads, and what it leaves."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from governance.digest import sha256_path
from tests.conftest import run_stage_in

SMALL = {"batch": 8, "max_length": 96, "watch_steps": 3, "learning_rate": 0.001}
SAMPLING = {"max_prompt_tokens": 48, "max_new_tokens": 12}


def with_method(project: Path, to: Path, method: str, rows: list[Any]) -> tuple[Path, dict[str, Any]]:
    folder = shutil.copytree(project, to)
    pl.DataFrame({"prompt": [r["prompt"] for r in rows[:10]]}).write_parquet(
        folder / "data/processed/ppo_prompts.parquet"
    )
    settings = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8")) | {"method": method}
    (folder / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return folder, run_stage_in(folder, "ppo", ppo=SAMPLING, **{method: SMALL})


@pytest.mark.parametrize("method", ["dpo", "ipo", "kto"])
def test_leaves_what_ppo_leaves(method: str, trained_project: Path, tmp_path: Path, hh_rows: list[Any]) -> None:
    folder, record = with_method(trained_project, tmp_path / "project", method, hh_rows)
    pairs, policy = folder / "data/processed/reward_train.parquet", folder / "data/models/policy"
    lineage = json.loads((policy / "lineage.json").read_text())
    assert lineage == {
        "base_sha256": json.loads((folder / "data/models/base/lineage.json").read_text())["base_sha256"],
        "sft_sha256": sha256_path(folder / "data/models/sft"),
        "reward_sha256": sha256_path(folder / "data/models/reward"),
        "data_sha256": sha256_path(pairs),
    }
    assert record["inputs"]["data/processed/reward_train.parquet"] == sha256_path(pairs)
    assert record["outputs"]["data/models/policy"] == sha256_path(policy)
    assert record["notes"]["method"] == method
    assert record["notes"]["registered"] == {"name": "attestrl-policy", "version": "1"}
    assert {"objective/kl", "objective/scores", "eval_loss", "val/response_length"} <= record["metrics"].keys()
    assert sha256_path(policy / "model.safetensors") != sha256_path(folder / "data/models/sft/model.safetensors")
    report = folder / "data/reports/ppo"
    history = [json.loads(line) for line in (report / "history.jsonl").read_text().splitlines()]
    watched = [row for row in history if "objective/kl" in row]
    assert watched[0]["step"] == 0 and abs(watched[0]["objective/kl"]) < 0.1
    samples = [json.loads(line) for line in (report / "samples.jsonl").read_text().splitlines()]
    assert {row["step"] for row in samples} == {row["step"] for row in watched}
    assert (report / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not list((folder / ".attestrl/checkpoints").glob(f"{method}/*/*"))


def test_the_annotators_weights_decide(trained_project: Path, tmp_path: Path, hh_rows: list[Any]) -> None:
    """A pair that weighs nothing might as well not be there; its row would have changed the policy."""
    digests = []
    for weight in (0.0, 1.0):
        project = shutil.copytree(trained_project, tmp_path / f"weight-{weight}")
        file = project / "data/processed/reward_train.parquet"
        pl.read_parquet(file).with_columns(weight=pl.lit(weight)).write_parquet(file)
        folder, _ = with_method(project, tmp_path / f"project-{weight}", "dpo", hh_rows)
        digests.append(sha256_path(folder / "data/models/policy/model.safetensors"))
    assert digests[0] == sha256_path(trained_project / "data/models/sft/model.safetensors") != digests[1]
