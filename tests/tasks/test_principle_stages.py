"""The stages `sft` and `reward` with principles: what they leave, and what the models learn from it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from governance.digest import sha256_path
from governance.errors import BadInput
from tests.conftest import ROOT, run_stage_in
from tests.tasks.choice_server import choice_server

ON = {
    "revisions": 6,
    "pairs": 12,
    "audit": 10,
    "max_tokens": 500,
    "max_new_tokens": 8,
    "approved_by": "A. Person",
    "file": str(ROOT / "data/raw/principles/example.yaml"),
}


@pytest.fixture(scope="module")
def shaped(
    trained_project: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """(project, record of `sft`, record of `reward`) with principles on."""
    folder = shutil.copytree(trained_project, tmp_path_factory.mktemp("principles") / "project")
    for name in ("sft", "reward"):
        shutil.rmtree(folder / "data/reports" / name)
    return folder, run_stage_in(folder, "sft", principles=ON), run_stage_in(folder, "reward", principles=ON)


def test_every_step_of_a_revision_is_kept(shaped: tuple[Path, Any, Any]) -> None:
    folder, record, _ = shaped
    table = pl.read_parquet(folder / "data/reports/sft/revisions.parquet")
    assert table.columns == ["id", "prompt", "answer", "principle", "critique", "revision", "ended"]
    assert table.height == 6 and table["answer"].n_unique() > 1 and (table["critique"] != table["revision"]).any()
    note = record["notes"]["principles"]
    assert {p["id"]: p["rows"] for p in note["principles"] if p["rows"]} == dict(
        table["principle"].value_counts().rows()
    )
    assert (note["version"], note["revisions"]) == (1, 6)
    assert note["trained_on"] == int((table["ended"] & (table["revision"] != "")).sum())
    lineage = json.loads((folder / "data/models/sft/lineage.json").read_text())
    assert lineage["revisions_sha256"] == sha256_path(folder / "data/reports/sft/revisions.parquet")
    assert record["inputs"][ON["file"]] == sha256_path(Path(str(ON["file"])))


def test_every_pair_knows_its_principle_and_its_weight_is_the_soft_label(shaped: tuple[Path, Any, Any]) -> None:
    folder, _, record = shaped
    path = folder / "data/interim/principle_pairs.parquet"
    table, note = pl.read_parquet(path), record["notes"]["principles"]
    assert table.height == note["pairs"] and table.height + sum(note["set_aside"].values()) == 12
    assert {p["id"]: p["rows"] for p in note["principles"] if p["rows"]} == dict(
        table["principle"].value_counts().rows()
    )
    assert set(table["source"]) == {"principles"}
    assert (table["probability"] > 0.5).all()
    np.testing.assert_allclose(table["weight"], 2 * table["probability"] - 1)
    people = pl.read_parquet(folder / "data/processed/reward_train.parquet")
    assert set(table["id"]) <= {f"principle-{name}" for name in people["id"]}
    lineage = {n: json.loads((folder / f"data/models/{n}/lineage.json").read_text()) for n in ("reward", "judge")}
    assert lineage["reward"]["principle_pairs_sha256"] == sha256_path(path)
    assert "principle_pairs_sha256" not in lineage["judge"]  # it stays people's


def test_the_audit_has_intervals_and_names_what_contradicts(shaped: tuple[Path, Any, Any]) -> None:
    folder, _, record = shaped
    report = json.loads((folder / "data/reports/reward/principles.json").read_text())
    rows = {r["name"]: r for r in json.loads((folder / "data/reports/reward/metrics.json").read_text())["metrics"]}
    for name in ("agreement", "turned_without", "agreement_change_without"):
        row = rows[f"principles/{name}/honest"]
        assert row["low"] <= row["value"] <= row["high"] and row["n"] > 0 and row["slice"] == "honest"
    assert len(report["oppositions"]) == 15 == rows["principles/contradictions"]["n"]
    assert len(report["log_odds"]) == report["pairs"] == 10
    assert rows["principles/contradictions"]["value"] == sum(o["contradict"] for o in report["oppositions"])
    assert 0 < rows["principles/answers_a_or_b"]["value"] < 0.1  # a random model of 512 tokens
    assert record["metrics"]["principles/audit_orders_agree"] == rows["principles/audit_orders_agree"]["value"]


def test_the_reward_model_reads_what_an_endpoint_prefers(trained_project: Path, tmp_path: Path) -> None:
    """A server that prefers the shorter answer, by a tenth of a log-odds a letter."""
    folder = shutil.copytree(trained_project, tmp_path / "project")
    with choice_server() as server:
        endpoint = {"url": server.url, "model": "shorter"}
        record = run_stage_in(folder, "reward", principles={**ON, "revisions": 0, "endpoint": endpoint})
        assert len(server.seen) == 2 * (12 + 10 * 6 - record["notes"]["principles"]["set_aside"]["same_or_empty"])
    table = pl.read_parquet(folder / "data/interim/principle_pairs.parquet")
    lengths = {
        side: table[side].list.first().struct.field("content").str.len_chars() for side in ("chosen", "rejected")
    }
    shorter = lengths["rejected"] - lengths["chosen"]
    assert (shorter > 0).all() and table["orders_agree"].all()
    np.testing.assert_allclose(table["probability"], 1 / (1 + np.exp(-0.1 * shorter.to_numpy())), atol=1e-6)
    assert record["notes"]["principles"]["preferred_by"] == "shorter"
    before, now = (
        pl.read_parquet(p / "data/interim/principle_pairs.parquet").height for p in (trained_project, folder)
    )
    assert (before, now) == (0, table.height)
    weights = [sha256_path(p / "data/models/reward/model.safetensors") for p in (trained_project, folder)]
    assert weights[0] != weights[1]
    same = [sha256_path(p / "data/models/judge/model.safetensors") for p in (trained_project, folder)]
    assert same[0] == same[1]


def test_nothing_is_left_where_principles_are_off(trained_project: Path) -> None:
    assert pl.read_parquet(trained_project / "data/interim/principle_pairs.parquet").height == 0
    assert not (trained_project / "data/reports/sft/revisions.parquet").exists()
    record = json.loads((trained_project / "data/reports/reward/record.json").read_text())
    assert "principles" not in record["notes"]
    assert not [name for name in record["metrics"] if name.startswith("principles/")]


@pytest.mark.parametrize(
    ("stage", "room"), [("sft", "answer, critique and revision"), ("reward", "beside two answers")]
)
def test_no_room_for_any_prompt_is_said(stage: str, room: str, trained_project: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained_project, tmp_path / "project")
    with pytest.raises(BadInput, match=f"principles.max_tokens: 60 leave no room for any prompt.*{room}"):
        run_stage_in(folder, stage, principles={**ON, "max_tokens": 60})
