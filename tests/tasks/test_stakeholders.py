"""Groups of people with heads of their own: from votes and a column of the vendor's file to the score that PPO reads."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from governance.errors import BadInput
from tasks import params
from tasks.curate import weigh
from tasks.group_votes import by_group, group_names, without_parents
from tasks.rlhf.branches import answer_scores
from tasks.rlhf.models import (
    load_reward_heads,
    load_reward_model,
    load_value_model,
)
from tests.conftest import run_stage_in
from tests.tasks.ppo_scores import scored_by_ppo
from tests.tasks.scored_alone import scored_alone

WEIGHTS = {"north": 0.75, "south": 0.25}
DECIDED = {"rule": "maximin", "approved_by": "A. Person", "reason": "no region is to lose"}
ROWS = [[5, 6, 7, 8, 1], [9, 10, 1], [20, 30, 40, 50, 60, 70, 1]]


def people() -> pl.DataFrame:
    regions = ["North"] * 6 + ["South"] * 5 + ["Far East"] * 2 + [None, " "]
    return pl.DataFrame({"annotator_id": [f"a{k}" for k in range(len(regions))], "region": regions})


def test_names_of_groups() -> None:
    given = pl.DataFrame({"annotator_id": list("abcd"), "age": ["20–29", "Over 60!", None, ""]})
    assert group_names(given, "age", "people.csv").rows() == [("a", "age-20-29"), ("b", "over-60")]
    with pytest.raises(BadInput, match=r"people\.csv: has no column region, .* \(columns: annotator_id, age\)"):
        group_names(given, "region", "people.csv")


def test_small_groups_have_no_item_of_their_own() -> None:
    named = group_names(people(), "region", "people.csv")
    votes = pl.DataFrame({"item_id": ["p"] * 15, "annotator_id": [f"a{k}" for k in range(15)], "choice": [1] * 15})
    own, groups, hidden = by_group(votes, named, 5, pooled=False)
    assert (groups, hidden) == (["north", "south"], 1)
    assert own.columns == votes.columns
    assert sorted(own["item_id"].value_counts().rows()) == [("p:north", 6), ("p:south", 5)]


def test_small_groups_are_one_if_they_are_enough_together() -> None:
    """Six in the north, five in the south, two in the far east, and two of whom nothing is said."""
    named = group_names(people(), "region", "people.csv")
    votes = pl.DataFrame({"item_id": ["p"] * 15, "annotator_id": [f"a{k}" for k in range(15)], "choice": [1] * 15})
    own, groups, hidden = by_group(votes, named, 6, pooled=True)
    assert (groups, hidden) == (["north", "others"], 2)
    assert sorted(own["item_id"].value_counts().rows()) == [("p:north", 6), ("p:others", 7)]
    too_few, groups, _ = by_group(votes, named, 5, pooled=True)  # the far east alone
    assert groups == ["north", "south"] and too_few.height == 11


def test_each_groups_label_is_what_its_own_votes_say() -> None:
    """Six in the north prefer the stored answer, five in the south the other: the majority does not decide for them."""
    table = pl.DataFrame(
        {
            "id": ["p", "q"],
            "side": ["reward_train", "ppo_prompts"],
            "annotator_id": pl.Series([None, None], dtype=pl.String),
            "criterion": pl.Series([None, None], dtype=pl.String),
            "chosen": ["stored", "stored"],
            "rejected": ["other", "other"],
        }
    )
    trusted = people().select("annotator_id", weight=pl.lit(0.8), reliability=pl.lit(0.8))
    cast = pl.DataFrame(
        {
            "item_id": ["p"] * 11 + ["q"] * 11,
            "annotator_id": [f"a{k}" for k in range(11)] * 2,
            "choice": ([1] * 6 + [0] * 5) * 2,
            "a_is_chosen": [True] * 22,
        }
    )
    own, groups, _ = by_group(cast, group_names(people(), "region", "people.csv"), 5, pooled=False)
    kept, aside = weigh(table, pl.concat([cast, own]), trusted)
    kept = without_parents(kept, groups, ("reward_train",))
    assert not aside
    rows = {row["id"]: row for row in kept.iter_rows(named=True)}
    assert rows.keys() == {"q", "p:north", "p:south", "q:north", "q:south"}  # q itself is a prompt, too
    assert (rows["p:north"]["chosen"], rows["p:south"]["chosen"]) == ("stored", "other")
    assert without_parents(kept, [], ("reward_train",)) is kept


@pytest.fixture(scope="module")
def project(trained_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real pairs, shared out between two groups, and a reward model of which the worse-off head decides."""
    folder = shutil.copytree(trained_project, tmp_path_factory.mktemp("stakeholders") / "project")
    for side in ("reward_train", "judge_train", "reward_test"):
        file = folder / f"data/processed/{side}.parquet"
        table = pl.read_parquet(file)
        said = pl.Series([list(WEIGHTS)[k % 2] for k in range(table.height)], dtype=pl.String)
        table.with_columns(criterion=said).write_parquet(file)
    shutil.rmtree(folder / "data/reports/reward")
    run_stage_in(folder, "reward", reward={"criteria": WEIGHTS}, stakeholders=DECIDED)
    return folder


def test_whatever_scores_applies_the_declared_rule(project: Path) -> None:
    folder = project / "data/models/reward"
    heads = scored_alone(load_reward_heads(folder), ROWS)
    assert heads.shape == (len(ROWS), 2)
    worst = heads.amin(1)
    model = load_reward_model(folder)
    torch.testing.assert_close(scored_alone(model, ROWS), worst)
    torch.testing.assert_close(answer_scores(model, ROWS, [2, 2, 2]), worst, rtol=1e-4, atol=1e-5)
    summed = scored_alone(load_value_model(folder), ROWS)  # one head, as a value function needs
    torch.testing.assert_close(summed, heads @ torch.tensor(list(WEIGHTS.values())), rtol=1e-4, atol=1e-5)
    record = json.loads((project / "data/reports/reward/record.json").read_text())
    assert record["notes"]["recipe"]["reward"]["rule"] == "maximin"
    assert json.loads((folder / "lineage.json").read_text())["rule"] == "maximin"


def test_ppo_climbs_the_worst_heads_score(project: Path) -> None:
    with contextlib.chdir(project):
        rows, found = scored_by_ppo([r[:3] for r in ROWS])
        heads = scored_alone(load_reward_heads(Path("data/models/reward")), rows)
    torch.testing.assert_close(found, heads.amin(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"stakeholders": {"rule": "maximin"}, "reward": {"criteria": WEIGHTS}}, "say who took it, and why"),
        ({"stakeholders": DECIDED}, "is of two heads or more"),
        ({"stakeholders": DECIDED, "reward": {"criteria": {"north": 1.0, "south": -1.0}}}, "and none below"),
        (
            {"stakeholders": DECIDED | {"by": "region"}, "reward": {"criteria": WEIGHTS}},
            "ingest.annotators, which is null",
        ),
        ({"stakeholders": DECIDED | {"by": "region", "rule": "utilitarian"}}, "name the groups in reward.criteria"),
        (
            {"stakeholders": DECIDED | {"by": "region", "pooled": True}, "reward": {"criteria": WEIGHTS}},
            "name others in reward.criteria",
        ),
        ({"stakeholders": {"found": 2}, "reward": {"criteria": WEIGHTS}}, "say who took it, and why"),
        ({"stakeholders": DECIDED | {"found": 1}}, "two or more"),
        ({"stakeholders": DECIDED | {"found": 2, "by": "region"}}, "where `by` is null"),
        ({"stakeholders": DECIDED | {"found": 2}, "reward": {"criteria": WEIGHTS}}, "name group-1, group-2 in reward"),
    ],
)
def test_a_decision_that_nobody_answers_for_is_refused(
    sections: dict[str, Any], sentence: str, trained_project: Path
) -> None:
    import yaml

    raw = yaml.safe_load((trained_project / "params.yaml").read_text())
    for name, section in sections.items():
        raw[name] |= section
    with pytest.raises(BadInput, match=sentence):
        params.parse(raw, "params.yaml")
