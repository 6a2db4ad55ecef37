"""A policy by another method than PPO: the same command, records and gate."""

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows import rounds
from governance.digest import sha256_path
from tasks.review_store import ReviewStore
from tests.end_to_end.conftest import Project, copied, digests, entries, made, outcomes

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


def test_rounds_of_labels_on_the_policys_own_answers(first: dict[str, Any], project: Project, tmp_path: Path) -> None:
    """The judge labels a round (SIMULATED) and a second run reads it; people are asked for the next."""
    project = copied(project, tmp_path / "rounds")
    (project.folder / ".attestrl/review.sqlite").unlink(missing_ok=True)  # what an evaluation asked is not of a round
    # a model of random weights writes what validation takes for damaged
    given = ["rounds.number=2", "rounds.pairs=24", "rounds.labels=simulated", "validate.max_quarantine_share=0.5"]
    record = project.run(*(word for setting in given for word in ("--set", setting)), timeout=600)
    assert record["status"] == "done", record["message"]
    assert record["round"]["sentence"] == "round 2 of 2: the last one."
    labels = "data/raw/rounds/round-1.jsonl"
    said = [json.loads(line) for line in (project.folder / labels).read_text(encoding="utf-8").splitlines()]
    assert [(m["round"], m["at_random"]["n"]) for m in record["round"]["measured"]] == [(1, len(said))]
    assert outcomes(record) | {"ingest": "made", "sft": "cached"} == outcomes(record)
    read = pl.read_parquet(project.folder / "data/interim/ingested/preferences.parquet")
    assert read["source"].str.contains("round 1, simulated labels").sum() == len(said) > 8
    assert "the labels on the policy's own answers" in record["simulated"]
    assert (project.folder / f"{labels}.dvc").is_file()
    events = [json.loads(line) for line in (project.folder / ".attestrl/ledger.jsonl").read_text().splitlines()]
    (labelled,) = (e for e in events if e["type"] == "round.labelled")
    assert labelled["subject_digests"]["labels"] == sha256_path(project.folder / labels)

    asked = project.run("--set", "rounds.number=3", "--set", "rounds.labels=people")
    assert (made(asked), asked["round"]["state"]) == ([], "waits")
    assert {e.data["round"] for e in entries(project, "round.asked")} == {1, 2}
    assert "the labels on the policy's own answers" in asked["simulated"]  # the first round's still are
    queue = ReviewStore(project.folder / ".attestrl/review.sqlite")
    answer = {"ratings": {}, "reason": "", "seconds": 1.0, "shown_order": [0, 1], "ranking": [1, 0]}
    with contextlib.chdir(project.folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTESTRL_HOME", str(project.folder / ".attestrl"))
        while item := queue.next("reviewer", time.time()):
            assert rounds.waiting() is None  # not before every pair has an answer
            queue.answer(item.id, "reviewer", "s", answer)
        assert rounds.waiting() == 2
        rounds.begin()
        assert len(rounds.labelled()) == 2
    assert project.attestrl("ledger", "verify").returncode == 0
