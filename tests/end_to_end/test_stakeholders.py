"""Two groups of people with tastes of their own (SIMULATED votes): a head for each, and the worse off of both decides."""

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from governance.digest import sha256_path
from tests.end_to_end.conftest import Project, small_project

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.xdist_group("pipeline")]
PAIRS = "data/raw/hh_rlhf/small.jsonl"
PEOPLE = 24
SOUTH = range(0, PEOPLE, 3)
STEPS = (
    "--set", "process.solutions=30", "--set", "process.simulated=16", "--set", "process.epochs=1",
    "--set", "process.max_length=700", "--set", "ppo.step_rewards=0.5",
)  # fmt: skip
DECISION = (
    "--set", "stakeholders.by=region", "--set", "stakeholders.rule=maximin",
    "--set", "stakeholders.approved_by=A. Person", "--set", "stakeholders.reason=no region is to lose",
)  # fmt: skip


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Any, orchestrator: str) -> Project:
    """The north prefers the stored answer, the south, a third of the people, the shorter one; nine times in ten."""
    project = small_project(tmp_path_factory.mktemp("divided"), tiny_model_folder, orchestrator)
    rng = random.Random(0)
    vendor = project.folder / "data/raw/vendor"
    vendor.mkdir()
    votes = ["item_id,annotator_id,choice"]
    for line in (project.folder / "data/raw/hh_rlhf/small.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for who in rng.sample(range(PEOPLE), 12):
            wanted = _shorter(row) if who in SOUTH else True
            votes.append(f"{row['id']},p{who},{int(wanted == (rng.random() < 0.9))}")
    (vendor / "votes.csv").write_text("\n".join(votes) + "\n", encoding="utf-8")
    regions = [f"p{who},{'South' if who in SOUTH else 'North'}" for who in range(PEOPLE)]
    (vendor / "people.csv").write_text("annotator_id,region\n" + "\n".join(regions) + "\n", encoding="utf-8")
    return project


def test_from_votes_to_the_welfare_of_each_group(divided: Project) -> None:
    sources = (
        "--set",
        "ingest.votes=data/raw/vendor/votes.csv",
        "--set",
        "ingest.annotators=data/raw/vendor/people.csv",
    )
    groups = ("--set", "reward.criteria={north: 0.67, south: 0.33}")
    record = divided.run("--params", "tiny.yaml", *sources, *groups, *DECISION, *STEPS, timeout=600)
    assert record["status"] == "done", record["message"]
    folder = divided.folder
    trained = pl.read_parquet(folder / "data/processed/reward_train.parquet")
    assert set(trained["criterion"].to_list()) == {"north", "south"}
    stems = trained.with_columns(stem=pl.col("id").str.replace(":(north|south)$", "")).pivot(
        "criterion", index="stem", values="chosen"
    )
    both = stems.drop_nulls()
    assert 0.2 < (both["north"] != both["south"]).mean() < 0.8  # some labels are the south's own
    summary = json.loads((folder / "data/reports/curate/summary.json").read_text())
    assert (summary["groups"], summary["groups_of_too_few_people"]) == (["north", "south"], 0)
    assert {"welfare/policy/north", "welfare/policy/south", "welfare_worst/policy"} <= record["metrics"].keys()
    others = {name for name in record["metrics"] if name.startswith("other_choice/")}
    assert others == {f"other_choice/policy_by_{rule}" for rule in ("utilitarian", "nash", "quantile")}
    card = next(p for p in record["records"] if p.endswith("card-reward.md"))
    text = (folder / card).read_text(encoding="utf-8")
    assert "| stakeholders.rule | maximin |" in text
    assert "| stakeholders.approved_by | A. Person |" in text
    assert_steps_are_learnt_and_rewarded(divided, text)
    assert_solutions_have_papers(divided, [folder / name for name in record["records"]])


def test_groups_that_nobody_declared_are_found(divided: Project) -> None:
    """By the votes alone: the south is group-2, with labels of its own, as where the vendor says who is from there."""
    found = ("--set", "stakeholders.by=null", "--set", "stakeholders.found=2")
    heads = ("--set", "reward.criteria={group-1: 0.67, group-2: 0.33}")
    decided = ("--set", "stakeholders.approved_by=A. Person", "--set", "stakeholders.reason=no group is to lose")
    votes = ("--set", "ingest.votes=data/raw/vendor/votes.csv")
    record = divided.run("--params", "tiny.yaml", *votes, *found, *heads, *decided, "--until", "curate")
    assert record["status"] == "done", record["message"]
    labels = pl.read_parquet(divided.folder / "data/processed/reward_train.parquet")
    assert set(labels["criterion"].to_list()) == {"group-1", "group-2"}
    stored = {row["id"]: row for row in map(json.loads, (divided.folder / PAIRS).open(encoding="utf-8"))}
    for group, expected in (("group-1", lambda row: True), ("group-2", _shorter)):
        rows = labels.filter(pl.col("criterion") == group)
        as_stored = [
            chosen == stored[name.removesuffix(f":{group}")]["chosen"]
            for name, chosen in zip(rows["id"], rows["chosen"].to_list(), strict=True)
        ]
        wanted = [expected(stored[name.removesuffix(f":{group}")]) for name in rows["id"]]
        assert sum(a == w for a, w in zip(as_stored, wanted, strict=True)) > 0.9 * rows.height > 60
    summary = json.loads((divided.folder / "data/reports/curate/summary.json").read_text())
    assert summary["groups"] == ["group-1", "group-2"] and summary["found_gain_nats_per_vote"] > 0.01
    refused = divided.attestrl(
        "run", "--set", "stakeholders.found=3", "--set", "reward.criteria={group-1: 1, group-2: 1, group-3: 1}"
    )
    assert refused.returncode == 1 and "the votes tell 2 groups of 5 people or more apart, not 3" in refused.stderr


def test_a_distribution_instead_of_groups(divided: Project) -> None:
    """Pairs on which the votes differ are said both ways; models, figures and cards say that there is a distribution."""
    votes = ("--set", "ingest.votes=data/raw/vendor/votes.csv", "--set", "stakeholders.found=distributional")
    decided = ("--set", "stakeholders.rule=quantile", "--set", "stakeholders.approved_by=A. Person")
    why = ("--set", "stakeholders.reason=nobody is to lose much", "--set", "reward.criteria={}")
    record = divided.run("--params", "tiny.yaml", *votes, *decided, *why, timeout=600)
    assert record["status"] == "done", record["message"]
    labels = pl.read_parquet(divided.folder / "data/processed/reward_train.parquet")
    summary = json.loads((divided.folder / "data/reports/curate/summary.json").read_text())
    both = {row["id"]: row for row in labels.iter_rows(named=True)}
    against = [row for name, row in both.items() if name.endswith(":against")]
    assert 20 < len(against) <= summary["said_against"] and labels["weight"].mean() == pytest.approx(1)
    for row in against:
        if stored := both.get(row["id"].removesuffix(":against")):
            assert (row["chosen"], row["rejected"]) == (stored["rejected"], stored["chosen"])
    assert {"distribution/r2", "distribution/gain", "spread/policy", "spread/sft"} <= record["metrics"].keys()
    card = next(p for p in record["records"] if p.endswith("card-reward.md"))
    text = (divided.folder / card).read_text(encoding="utf-8")
    assert "| stakeholders.found | distributional |" in text and "distribution/r2" in text


def _shorter(row: dict[str, Any]) -> bool:
    return len(row["chosen"][-1]["content"]) < len(row["rejected"][-1]["content"])


def assert_steps_are_learnt_and_rewarded(project: Project, card: str) -> None:
    """Process and outcome models are in the reward model's folder, with their lineage and figures, and PPO asks the former."""
    folder = project.folder
    table = folder / "data/reports/reward/process_solutions.parquet"
    reward, policy = (
        json.loads((folder / f"data/models/{name}/lineage.json").read_text(encoding="utf-8"))
        for name in ("reward", "policy")
    )
    assert reward["process_solutions_sha256"] == sha256_path(table)
    assert policy["process_sha256"] == sha256_path(folder / "data/models/reward/process")
    for name in ("process", "outcome"):
        own = json.loads((folder / f"data/models/reward/{name}/lineage.json").read_text(encoding="utf-8"))
        assert own["base_sha256"] == reward["base_sha256"] and own["sft_sha256"] == reward["sft_sha256"]
        assert own["process_solutions_sha256"] == sha256_path(table)
    record_of_stage = json.loads((folder / "data/reports/reward/record.json").read_text(encoding="utf-8"))
    for source in ("data/raw/bigbench_mistake", "data/raw/gsm8k/train.jsonl.gz"):
        assert record_of_stage["inputs"][source] == sha256_path(folder / source)
    assert record_of_stage["notes"]["process"]["simulated_mistakes"] > 20
    rows = json.loads((folder / "data/reports/reward/metrics.json").read_text())["metrics"]
    found = {row["name"]: row for row in rows if row["name"].startswith(("process/", "outcome/", "best_of_n/"))}
    tasks = set(pl.read_parquet(table)["task"].to_list())
    assert tasks >= {"multistep_arithmetic", "gsm8k-simulated"}
    for name in ("process/first_error", "process/first_error_majority", "outcome/accuracy"):
        row = found[f"{name}/gsm8k-simulated"]
        assert row["low"] <= row["value"] <= row["high"] and row["slice"] == "SIMULATED mistakes"
    assert {"process/ece", "process/brier", "outcome/ece", "best_of_n/process_minus_outcome/gsm8k-simulated"} <= set(
        found
    )
    assert found["process/first_error/multistep_arithmetic"]["slice"] is None
    history = [json.loads(line) for line in (folder / "data/reports/ppo/history.jsonl").read_text().splitlines()]
    assert all(0 < row["objective/step_rewards"] < 0.5 for row in history)
    assert "| process.level | step |" in card and "process/first_error/gsm8k-simulated" in card
    assert "mistakes of a program" in card


def assert_solutions_have_papers(project: Project, records: list[Path]) -> None:
    """A datasheet, a Croissant file that loads the rows, and a place in the bill of materials."""
    mlcroissant = pytest.importorskip("mlcroissant")
    by_name = {file.name: file for file in records}
    sheet = by_name["datasheet-process_solutions.md"].read_text(encoding="utf-8")
    assert "mistake of a program" in sheet and "data/raw/gsm8k/train.jsonl.gz" in sheet
    (where,) = json.loads(by_name["croissant-process_solutions.json"].read_text())["distribution"]
    mapping = {where["@id"]: str(project.folder / where["contentUrl"])}
    dataset = mlcroissant.Dataset(jsonld=str(by_name["croissant-process_solutions.json"]), mapping=mapping)
    assert not dataset.metadata.ctx.issues.errors and next(iter(dataset.records("rows")))
    materials = json.loads(by_name["bom-1.6.json"].read_text())
    (solutions,) = [c for c in materials["components"] if c["name"] == "process_solutions"]
    (reward,) = [c for c in materials["components"] if c["name"].endswith("-reward")]
    (made_of,) = [d["dependsOn"] for d in materials["dependencies"] if d["ref"] == reward["bom-ref"]]
    assert solutions["bom-ref"] in made_of
