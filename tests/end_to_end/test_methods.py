"""A policy by another method than PPO: the same command, records and gate."""

import contextlib
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows import rounds
from flows.dataset_facts import SIMULATED_LABELS
from governance.digest import sha256_path
from tasks.review_store import ReviewStore
from tests.end_to_end.conftest import ROOT, Project, copied, digests, entries, made, outcomes
from tests.governance.test_schemas import problems
from tests.tasks.choice_server import choice_server

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.xdist_group("pipeline")]

# a model of random weights writes what validation takes for damaged, and seldom in two tokens
SHORT = ["evaluate.max_new_tokens=2", "validate.max_quarantine_share=0.5"]


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


def test_the_method_that_the_documentation_adds(first: dict[str, Any], project: Project, tmp_path: Path) -> None:
    """An algorithm, its test, and its entry in the configuration: the diff of docs/methods.md, applied and run."""
    page = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    diff = page.split("## Adding a method")[1].split("```diff\n")[1].split("```")[0]
    changed = {"tasks/methods/slic.py", "tests/tasks/test_slic.py", "tasks/params.py", "params.yaml"}
    assert {line[6:] for line in diff.splitlines() if line.startswith("+++ ")} == changed
    project = copied(project, tmp_path / "added")
    subprocess.run(["git", "apply", "-"], input=diff, text=True, cwd=project.folder, check=True)
    tested = project.python(
        "-m", "pytest", "-q", "-p", "no:xdist", "tests/tasks/test_slic.py", "tests/test_layering.py"
    )
    assert tested.returncode == 0, tested.stdout
    record = project.run("--set", "method=slic")
    assert record["status"] == "done", record["message"]
    assert made(record) == ["ppo", "evaluate"]
    history = [json.loads(line) for line in (project.folder / "data/reports/ppo/history.jsonl").open(encoding="utf-8")]
    assert {"loss", "eval_loss", "objective/kl"} <= set().union(*history)
    card = next(Path(p) for p in record["records"] if Path(p).name == "card-policy.md")
    assert "| method | slic |" in (project.folder / card).read_text(encoding="utf-8")
    assert json.loads((project.folder / "data/reports/ppo/record.json").read_text())["notes"]["method"] == "slic"
    refused = project.attestrl("run", "--set", "method=slick")
    assert refused.returncode == 2 and "write one of ppo, dpo, ipo, kto, slic, not slick" in refused.stderr


def test_a_round_that_principles_label(first: dict[str, Any], project: Project, tmp_path: Path) -> None:
    """An endpoint prefers the shorter answer; nobody approved the list at first, and nothing starts. DPO learns from the pairs of
    its own policy, too."""
    project = copied(project, tmp_path / "principles")
    given = [
        *SHORT,
        "rounds.number=2",
        "rounds.pairs=16",
        "rounds.labels=principles",
        "method=dpo",
        "dpo.watch_steps=100",
    ]
    with choice_server() as server:
        given.append(f"principles.endpoint={{url: '{server.url}', model: shorter}}")
        arguments = [word for setting in given for word in ("--set", setting)]
        refused = project.attestrl("run", *arguments)
        assert refused.returncode == 2 and "approved_by: names nobody" in refused.stderr
        record = project.run(*arguments, "--set", "principles.approved_by=A. Person", timeout=600)
    assert record["status"] == "done", record["message"]
    labels = [json.loads(line) for line in (project.folder / "data/raw/rounds/round-1.jsonl").open(encoding="utf-8")]
    assert labels and all(row["source"].startswith("round 1, principle ") for row in labels)
    assert all(len(row["responses"][row["ranking"][0]]) < len(row["responses"][row["ranking"][1]]) for row in labels)
    read = pl.read_parquet(project.folder / "data/interim/ingested/preferences.parquet")
    assert read["source"].str.contains("round 1, principle ").sum() == len(labels)
    pairs = project.folder / "data/processed/reward_train.parquet"
    assert pl.read_parquet(pairs)["source"].str.contains("round 1, principle ").any()
    lineage = json.loads((project.folder / "data/models/policy/lineage.json").read_text(encoding="utf-8"))
    assert lineage["data_sha256"] == sha256_path(pairs)
    asked = [json.loads(file.read_text()) for file in (project.folder / ".attestrl/records").glob("*/run.json")]
    (said,) = (run["round"]["principles"] for run in asked if (run.get("round") or {}).get("principles"))
    assert sum(p["rows"] for p in said["principles"]) == len(labels) and said["preferred_by"] == "shorter"
    assert {p["approved_by"] for p in said["principles"]} == {"A. Person"}
    assert "the labels on the policy's own answers" not in record["simulated"]


def test_rounds_of_labels_on_the_policys_own_answers(first: dict[str, Any], project: Project, tmp_path: Path) -> None:
    """A SIMULATED panel labels a round and a second run reads it; people are asked for the next."""
    project = copied(project, tmp_path / "rounds")
    (project.folder / ".attestrl/review.sqlite").unlink(missing_ok=True)  # what an evaluation asked is not of a round
    given = [*SHORT, "rounds.number=2", "rounds.pairs=24", "rounds.labels=simulated"]
    record = project.run(*(word for setting in given for word in ("--set", setting)), timeout=600)
    assert record["status"] == "done", record["message"]
    assert record["round"]["sentence"] == "round 2 of 2: the last one."
    labels = "data/raw/rounds/round-1.jsonl"
    said = [json.loads(line) for line in (project.folder / labels).read_text(encoding="utf-8").splitlines()]
    raters = [f"sim-rater-{k}" for k in range(1, 6)]
    assert {row["annotator_id"] for row in said} == set(raters)
    pairs = {row["id"] for row in said}
    assert len(said) == 5 * len(pairs) > 5 * 8
    assert [(m["round"], m["at_random"]["n"]) for m in record["round"]["measured"]] == [(1, len(pairs))]
    assert outcomes(record) | {"ingest": "made", "sft": "cached"} == outcomes(record)
    read = pl.read_parquet(project.folder / "data/interim/ingested/preferences.parquet")
    assert read["source"].str.contains("round 1, simulated labels").sum() == len(pairs)
    judged = pl.read_csv(project.folder / "data/reports/annotators/annotators.csv").filter(
        pl.col("annotator_id").is_in(raters)
    )
    assert judged.height == 5 and judged["simulated"].all() and judged["n_votes"].max() <= len(pairs)
    sheets = {
        Path(p).name: (project.folder / p).read_text(encoding="utf-8") for p in record["records"] if p.endswith(".md")
    }
    for name in ("datasheet-preferences.md", "datasheet-votes.md", "card-reward.md", "card-policy.md"):
        assert SIMULATED_LABELS in sheets[name], name
    assert "the labels on the policy's own answers" in record["simulated"]
    assert (project.folder / f"{labels}.dvc").is_file()
    events = [json.loads(line) for line in (project.folder / ".attestrl/ledger.jsonl").read_text().splitlines()]
    (labelled,) = (e for e in events if e["type"] == "round.labelled")
    (before,) = record["round"]["measured"]
    asking = json.loads((project.folder / ".attestrl/records" / before["asked_by"] / "run.json").read_text())
    assert asking["round"]["panel"] == dict.fromkeys(raters, 0.84) and not problems("run", asking)
    assert asking["run_id"] != record["run_id"] and asking["policy"]["sha256"] == before["policy"]
    trained = pl.read_parquet(project.folder / "data/processed/reward_train.parquet")["source"]
    assert trained.str.contains("round 1, simulated labels").any() and before["policy"] != record["policy"]["sha256"]
    assert before["labels"] == sha256_path(project.folder / labels)
    assert labelled["subject_digests"] == {name: before[name] for name in ("labels", "policy")}

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
