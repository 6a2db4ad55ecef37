"""A policy by another method than PPO: the same command, records and gate."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from governance.digest import sha256_path
from tests.end_to_end.conftest import Project, digests, made, outcomes

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.xdist_group("pipeline")]


def test_dpo_makes_policy_and_evaluation_alone_and_ppo_comes_back(first: dict[str, Any], project: Project) -> None:
    before = project.run("--set", "method=ppo")
    assert before["status"] == "done", before["message"]
    policy = project.folder / "data/models/policy"
    record = project.run("--set", "method=dpo")
    assert record["status"] == "done", record["message"]
    assert made(record) == ["ppo", "evaluate"]
    assert record["gate"]["verdict"] in ("pass", "refuse")
    assert record["policy"]["sha256"] == sha256_path(policy) != before["policy"]["sha256"]
    assert record["policy"]["version"] != before["policy"]["version"]

    pairs = project.folder / "data/processed/reward_train.parquet"
    lineage = json.loads((policy / "lineage.json").read_text(encoding="utf-8"))
    assert lineage["data_sha256"] == sha256_path(pairs)
    aside = project.folder / "data/reports/curate/set_aside.jsonl"
    quarantined = {json.loads(line)["id"] for line in aside.read_text(encoding="utf-8").splitlines()}
    table = pl.read_parquet(pairs)
    assert quarantined and not quarantined & set(table["id"])
    assert table["weight"].n_unique() > 1  # of the annotators' votes

    card = next(Path(p) for p in record["records"] if Path(p).name == "card-policy.md")
    text = (project.folder / card).read_text(encoding="utf-8")
    assert "dpo" in text and "watch_steps" in text and "clip_range" not in text
    assert "kl/policy_from_sft" in record["metrics"]
    assert project.attestrl("ledger", "verify").returncode == 0

    assert outcomes(project.run("--set", "dpo.beta=0.3", "--until", "ppo"))["ppo"] == "made"
    back = project.run("--set", "method=ppo")
    assert made(back) == [] and digests(back) == digests(before)
    assert made(project.run("--set", "dpo.beta=0.1")) == []  # which PPO does not read
