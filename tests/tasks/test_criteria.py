"""Heads by criterion: from the field of a file to a score that PPO reads."""

import contextlib
import json
import random
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import torch

from governance.errors import BadInput
from tasks.formats import read_preferences
from tasks.rlhf.branches import answer_scores
from tasks.rlhf.models import (
    declare_heads,
    load_reward_heads,
    load_reward_model,
    load_tokenizer,
    new_reward_model,
    save_model,
)
from tasks.rlhf.reward_trainer import RankedRow, collator, own_scores, train_reward
from tasks.stats.intervals import wilson
from tests.conftest import run_stage_in
from tests.tasks.ppo_scores import scored_by_ppo
from tests.tasks.scored_alone import scored_alone
from tests.tasks.test_formats import CHOSEN, PROMPT, REJECTED, write
from tests.tasks.test_reward import SETTINGS

PAIR = {"id": "p", "prompt": PROMPT, "chosen": CHOSEN, "rejected": REJECTED}
HARMLESS, HELPFUL = 40, 60  # tokens that make an answer so
WEIGHTS = {"harmlessness": 0.5, "helpfulness": 1.0}
ROWS = [[5, 6, 7, 8, 1], [9, 10, 1], [20, 30, 40, 50, 60, 70, 1]]


def test_criteria_of_a_row_are_rows_of_their_own(tmp_path: Path) -> None:
    said = {"honesty": [2, 4], "helpfulness": "chosen", "accuracy": [3, 3], "harmlessness": None}
    table = read_preferences(write(tmp_path / "p.jsonl", [PAIR | {"criteria": said, "margin": 0.5}]))
    assert table["id"].to_list() == ["p", "p:helpfulness", "p:honesty"]
    assert table["criterion"].to_list() == [None, "helpfulness", "honesty"]
    assert table["chosen"].to_list() == [CHOSEN, CHOSEN, REJECTED]
    assert table["rejected"].to_list() == [REJECTED, REJECTED, CHOSEN]
    assert table["margin"].to_list() == [0.5, None, None]


def test_a_row_about_one_criterion_is_named_as_votes_name_it(tmp_path: Path) -> None:
    rows = [PAIR | {"criterion": c} for c in ("honesty", "Accuracy")] + [
        PAIR,
        PAIR | {"id": "q:honesty", "criterion": "honesty"},
    ]
    table = read_preferences(write(tmp_path / "p.jsonl", rows))
    assert table["id"].to_list() == ["p:honesty", "p:accuracy", "p", "q:honesty"]
    rows = [PAIR | {"criteria": c} for c in ("honesty", ["honesty", "accuracy"], "", None)]
    table = read_preferences(write(tmp_path / "c.jsonl", rows))
    assert table["criterion"].to_list() == ["honesty", None, "accuracy", "honesty", None, None]
    assert table["chosen"].to_list() == [CHOSEN] * 6
    ranked = {"item_id": "i", "prompt": "a", "responses": ["b", "c"], "ranking": [1, 0]}
    table = read_preferences(write(tmp_path / "r.jsonl", [ranked | {"criterion": "honesty"}, ranked]))
    assert table["ranking_id"].to_list() == ["i:honesty", "i"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"criterion": "very helpful"}, ["field criterion", "'very helpful'", "no name"]),
        ({"criterion": ["honesty"]}, ["field criterion", "a list"]),
        ({"criteria": [["honesty"]]}, ["field criteria", "an object"]),
        ({"criteria": 4}, ["field criteria", "an object"]),
        ({"criteria": "very helpful"}, ["field criteria", "'very helpful'", "no name"]),
        ({"criteria": "{honesty"}, ["field criteria", "JSON"]),
        ({"criteria": {"honesty": 7}}, ["field criteria.honesty", "'7'"]),
        ({"criteria": {"honesty": [1, 2, 3]}}, ["field criteria.honesty", "score of chosen"]),
        ({"criteria": {"a:b": [1, 2]}}, ["field criteria", "'a:b'"]),
    ],
)
def test_bad_criteria_are_one_sentence(fields: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(BadInput) as error:
        read_preferences(write(tmp_path / "bad.jsonl", [PAIR | fields]))
    assert all(word in str(error.value) for word in ["bad.jsonl: line 1", *words]), error.value


def test_a_ranking_has_no_criteria_of_pairs(tmp_path: Path) -> None:
    row = {"prompt": "a", "responses": ["b", "c"], "ranking": [0, 1], "criteria": {"honesty": [1, 2]}}
    with pytest.raises(BadInput, match="give each criterion a ranking"):
        read_preferences(write(tmp_path / "r.jsonl", [row]))


def simulated(n: int, seed: int, head: int) -> list[RankedRow]:
    """SIMULATED pairs about head 0 (the answer with HARMLESS is better) or 1 (that with HELPFUL); the other token is in
    either answer, as chance has it."""
    draw = random.Random(f"{seed} {head}")
    mine, other = ((HARMLESS, HELPFUL), (HELPFUL, HARMLESS))[head]

    def answer(good: bool) -> list[int]:
        body = [draw.randrange(100, 400) for _ in range(6)] + [mine] * good + [other] * (draw.random() < 0.5)
        draw.shuffle(body)
        return [50, *body, 1]

    return [RankedRow([answer(True), answer(False)], [1.0], [0.0], head) for _ in range(n)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_head_learns_its_own_criterion(seed: int, tiny_model_folder: Path) -> None:
    rows = [r for head in (0, 1) for r in simulated(160, seed, head)]
    random.Random(seed).shuffle(rows)
    model = new_reward_model(tiny_model_folder, 0, seed, heads=2)
    settings = SimpleNamespace(**(vars(SETTINGS) | {"epochs": 4}))
    weights = list(WEIGHTS.values())
    given: dict[str, Any] = {"resume": None, "head_weights": weights}
    train_reward(
        model, load_tokenizer(tiny_model_folder), rows[40:], rows[:40], settings, seed, lambda *_: None, "r", **given
    )
    for head in (0, 1):
        held_out = simulated(100, seed + 1000, head)
        scores = [scored_alone(model.cpu(), [r.answers[k] for r in held_out]) for k in (0, 1)]
        right = ((scores[0] - scores[1]) > 0).sum(0).tolist()  # of each head on this criterion's pairs
        low = [wilson(n, 100)[0] for n in right]
        assert low[head] > 0.7
        assert right[head] > right[1 - head] + 20


def test_rankings_are_scored_by_the_head_that_they_are_about() -> None:
    rows = [RankedRow([[5], [6]], [1.0], [0.0], head) for head in (1, -1, 0)]
    batch = collator(0)([vars(r) for r in rows])
    logits = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0], [5.0, 50.0], [6.0, 60.0]])
    found = own_scores(logits, batch["groups"], [1.0, 0.5])
    assert found.tolist() == [10.0, 2.0 + 10.0, 3.0, 40.0, 5.0 + 25.0, 6.0]
    one = collator(0)([vars(RankedRow([[5], [6]], [1.0], [0.0], head)) for head in (0, -1)])
    assert own_scores(logits[:4, :1], one["groups"], [0.5]).tolist() == [1.0, 1.0, 3.0, 2.0]


@pytest.mark.parametrize("criteria", [WEIGHTS, {"honesty": 2.0}, {"a": 0.0, "b": -1.0, "c": 0.3}])
def test_the_score_is_the_weighted_sum_of_what_is_stored(
    criteria: dict[str, float], tiny_model_folder: Path, tmp_path: Path
) -> None:
    model = new_reward_model(tiny_model_folder, 0, 1, heads=len(criteria))
    declare_heads(model, criteria)
    model.config.reward_offset = [0.1 * (k + 1) for k in range(len(criteria))]
    save_model(model, load_tokenizer(tiny_model_folder), tmp_path / "reward")
    config = json.loads((tmp_path / "reward/config.json").read_text())
    assert [config["id2label"][str(k)] for k in range(len(criteria))] == list(criteria)
    heads = scored_alone(load_reward_heads(tmp_path / "reward"), ROWS).reshape(len(ROWS), -1)
    expected = heads @ torch.tensor(list(criteria.values()))
    summed = load_reward_model(tmp_path / "reward")
    assert summed.score.weight.shape[0] == 1
    torch.testing.assert_close(answer_scores(summed, ROWS, None), expected, rtol=1e-4, atol=1e-5)
    save_model(summed, load_tokenizer(tiny_model_folder), tmp_path / "again")  # as the value model of PPO is
    torch.testing.assert_close(
        answer_scores(load_reward_model(tmp_path / "again"), ROWS, None), expected, rtol=1e-4, atol=1e-5
    )


@pytest.fixture(scope="module")
def project(trained_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real pairs, every third about no criterion, and a reward model with two heads of them."""
    folder = shutil.copytree(trained_project, tmp_path_factory.mktemp("criteria") / "project")
    for side in ("reward_train", "judge_train", "reward_test"):
        file = folder / f"data/processed/{side}.parquet"
        table = pl.read_parquet(file)
        said = pl.Series([[None, *WEIGHTS][k % 3] for k in range(table.height)], dtype=pl.String)
        table.with_columns(criterion=said).write_parquet(file)
    shutil.rmtree(folder / "data/reports/reward")
    run_stage_in(folder, "reward", reward={"criteria": WEIGHTS})
    return folder


def test_stage_measures_every_head_on_its_own_pairs(project: Path) -> None:
    metrics = json.loads((project / "data/reports/reward/metrics.json").read_text())["metrics"]
    rows, test = {r["name"]: r for r in metrics}, pl.read_parquet(project / "data/processed/reward_test.parquet")
    assert rows["accuracy/test"]["n"] == test.height
    for criterion in WEIGHTS:
        row = rows[f"accuracy/test/{criterion}"]
        assert row["slice"] == criterion
        assert row["n"] == test.filter(pl.col("criterion") == criterion).height
        assert (row["low"], row["high"]) == pytest.approx(wilson(round(row["value"] * row["n"]), row["n"]))
    record = json.loads((project / "data/reports/reward/record.json").read_text())
    assert record["notes"]["recipe"]["reward"] == {
        "loss": "bradley_terry",
        "criteria": "0.5 harmlessness, 1 helpfulness",
        "length_debias": "no",
        "rule": "utilitarian",
    }
    heads = record["notes"]["heads"]["reward"]
    assert {name: head["weight"] for name, head in heads.items()} == WEIGHTS
    config = json.loads((project / "data/models/reward/config.json").read_text())
    assert config["reward_offset"] == [head["bias"] for head in heads.values()]
    assert "criteria" in json.loads((project / "data/models/judge/lineage.json").read_text())


def test_ppo_reads_the_weighted_sum(project: Path) -> None:
    with contextlib.chdir(project):
        rows, found = scored_by_ppo([r[:3] for r in ROWS])
        heads = scored_alone(load_reward_heads(Path("data/models/reward")), rows)
    torch.testing.assert_close(found, heads @ torch.tensor(list(WEIGHTS.values())), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("criteria", "sentence"),
    [
        (
            WEIGHTS | {"honesty": 1.0},
            r"reward_train\.parquet: has no pairs of honesty \(they are of harmlessness, helpf",
        ),
        ({"helpfulness": 1.0}, r"has pairs of harmlessness, which reward\.criteria does not name"),
    ],
)
def test_criteria_and_data_must_agree(criteria: dict[str, float], sentence: str, project: Path) -> None:
    with pytest.raises(BadInput, match=sentence):
        run_stage_in(project, "reward", reward={"criteria": criteria})


def test_data_without_criteria_are_refused(trained_project: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained_project, tmp_path / "project")
    with pytest.raises(BadInput, match=r"has no pairs of honesty \(none names a criterion\)"):
        run_stage_in(folder, "reward", reward={"criteria": {"honesty": 1.0}})
