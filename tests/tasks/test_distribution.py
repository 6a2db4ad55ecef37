"""Distributions of utility in the pipeline: votes said both ways, two heads, the rule that is scored by, and what is measured."""

import contextlib
import json
import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from scipy.stats import norm

from governance.errors import BadInput
from tasks import curate, evaluate, params
from tasks.both_ways import both_ways
from tasks.evals.generation import Responses
from tasks.reward_distribution import measure
from tasks.rlhf.branches import answer_scores
from tasks.rlhf.distributional import SCALE, explained
from tasks.rlhf.models import (
    load_reward_heads,
    load_reward_model,
    load_value_model,
)
from tests.conftest import run_stage_in
from tests.tasks.ppo_scores import scored_by_ppo
from tests.tasks.scored_alone import scored_alone

DECIDED = {"approved_by": "A. Person", "reason": "nobody is to lose much"}
ON = {"found": "distributional", "rule": "quantile", "quantile": 0.1} | DECIDED
ROWS = [[5, 6, 7, 8, 1], [9, 10, 1], [20, 30, 40, 50, 60, 70, 1]]


def test_a_pair_is_said_both_ways_as_often_as_it_was_said() -> None:
    """By hand: of p three say the stored answer, of weight 1, and two the other, of .5; q has a vote of no weight and its author's .5."""
    ids = ["p", "q", "r", "t"]
    table = pl.DataFrame(
        {
            "id": ids,
            "side": ["reward_train"] * 3 + ["reward_test"],
            "annotator_id": [None, "half", "flagged", None],
            "chosen": ["stored"] * 4,
            "rejected": ["other"] * 4,
            "ranking_id": ["k", None, None, None],
            "chosen_rank": [0, None, None, None],
            "rejected_rank": [1, None, None, None],
        }
    )
    people = ["a", "b", "c", "half", "other half", "flagged"]
    trusted = pl.DataFrame({"annotator_id": people, "weight": [1.0, 1.0, 1.0, 0.5, 0.5, 0.0]})
    cast = [("p", name, int(name in "abc")) for name in people] + [("q", "flagged", 0), ("t", "a", 0)]
    votes = pl.DataFrame(cast, schema=["item_id", "annotator_id", "choice"], orient="row")
    votes = votes.with_columns(a_is_chosen=True)
    kept, aside = both_ways(table, votes, trusted)
    rows = {row["id"]: row for row in kept.iter_rows(named=True)}
    assert rows.keys() == {"p", "p:against", "q", "t"} and rows["t"]["weight"] == 1
    mean = (3 + 1 + 0.5) / 3
    assert [rows[n]["weight"] for n in ("p", "p:against", "q")] == pytest.approx([3 / mean, 1 / mean, 0.5 / mean])
    assert (rows["p:against"]["chosen"], rows["p:against"]["rejected"]) == ("other", "stored")
    assert rows["p"]["ranking_id"] is None
    assert aside == [{"id": "r", "reason": "its annotator is flagged"}]
    asked: Any = SimpleNamespace(params=SimpleNamespace(stakeholders=SimpleNamespace(distribution=True)))
    rows_of_stage, _, summary = curate._weighted(asked, table, votes, trusted)
    assert rows_of_stage.equals(kept) and summary == {"said_against": 1}


def test_what_the_spreads_are_worth() -> None:
    """Of pairs with the same difference half are right in .98 and half in .6: what one spread for all cannot say."""
    n = 400
    z = np.repeat(norm.ppf([0.98, 0.6]), n // 2)
    log = np.log(1 / (np.sqrt(2) * z * SCALE))
    pairs = torch.tensor(np.stack([np.stack([np.ones(n), log], 1), np.stack([np.zeros(n), log], 1)], 1))
    right = np.concatenate([np.arange(n // 2) < 0.98 * n // 2, np.arange(n // 2) < 0.6 * n // 2])
    turned = torch.where(torch.from_numpy(right)[:, None, None], pairs, pairs.flip(1))
    drawn = {"level": 0.95, "resamples": 200, "seed": 0}
    r2, gain = measure(pairs, turned, np.ones(n), (np.arange(n), np.arange(n)), drawn)
    share = right.mean()
    entropy = {p: -p * np.log(p) - (1 - p) * np.log(1 - p) for p in (0.98, 0.6, share)}
    assert gain["value"] == pytest.approx(entropy[share] - (entropy[0.98] + entropy[0.6]) / 2, abs=1e-3)
    assert 0 < gain["low"] < gain["value"] < gain["high"]
    assert r2["low"] <= r2["value"] <= r2["high"] and r2["value"] == pytest.approx(explained(pairs.flatten(0, 1)))


@pytest.fixture(scope="module")
def project(trained_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real pairs, and a reward model that a low quantile decides by."""
    folder = shutil.copytree(trained_project, tmp_path_factory.mktemp("distribution") / "project")
    shutil.rmtree(folder / "data/reports/reward")
    run_stage_in(folder, "reward", stakeholders=ON)
    return folder


def test_whatever_scores_takes_the_quantile(project: Path) -> None:
    folder = project / "data/models/reward"
    heads = scored_alone(load_reward_heads(folder), ROWS)
    assert heads.shape == (len(ROWS), 2) and heads[:, 1].abs().max() > 0
    expected = heads[:, 0] + norm.ppf(0.1) * SCALE * heads[:, 1].exp()
    model = load_reward_model(folder)
    torch.testing.assert_close(scored_alone(model, ROWS), expected.float())
    torch.testing.assert_close(answer_scores(model, ROWS, [2, 2, 2]), expected.float(), rtol=1e-4, atol=1e-5)
    mean = scored_alone(load_value_model(folder), ROWS)  # one head, where a value function begins
    torch.testing.assert_close(mean, heads[:, 0], rtol=1e-4, atol=1e-5)
    with contextlib.chdir(project):
        rows, found = scored_by_ppo([r[:3] for r in ROWS])
    torch.testing.assert_close(found, scored_alone(model, rows), rtol=1e-4, atol=1e-4)


def test_how_much_people_differ_about_responses(project: Path) -> None:
    """The judge's own spreads, of three prompts with two responses each."""
    rows = ROWS * 2
    lengths = torch.tensor([2.0] * len(rows))
    same = Responses(rows, [""] * len(rows), lengths, lengths > 0, None)
    with contextlib.chdir(project):
        stage: Any = SimpleNamespace(params=params.load(Path("params.yaml")), seed=7)
        found = {row["name"]: row for row in evaluate._spreads(stage, {"sft": same, "policy": same, "base": same})}
        heads = scored_alone(load_reward_heads(Path("data/models/judge")), ROWS)
    assert found.keys() == {"spread/sft", "spread/policy"}
    row = found["spread/policy"]
    assert row["value"] == pytest.approx(float(SCALE * heads[:, 1].exp().mean()), rel=1e-4)
    assert row["low"] <= row["value"] <= row["high"] and row["n"] == len(rows)


def test_what_the_stage_says(project: Path) -> None:
    report = project / "data/reports/reward"
    record = json.loads((report / "record.json").read_text())
    assert (
        record["notes"]["recipe"]["reward"] | {"loss": "distributional", "rule": "quantile 0.1"}
        == (record["notes"]["recipe"]["reward"])
    )
    assert {"loss", "rule"} <= json.loads((project / "data/models/reward/lineage.json").read_text()).keys()
    said = record["notes"]["heads"]["reward"]
    assert said.keys() == {"mean", "log_spread"} and said["log_spread"] == {"weight": 0.0, "bias": 0.0}
    rows = {r["name"]: r for r in json.loads((report / "metrics.json").read_text())["metrics"]}
    for name in ("distribution/r2", "distribution/gain"):
        assert rows[name]["low"] <= rows[name]["value"] <= rows[name]["high"]
        assert record["metrics"][name] == rows[name]["value"]
    assert rows["distribution/gain"]["low"] < 0.05  # few pairs, one mind: there is nothing to find
    listed = [json.loads(line) for line in (report / "contested.jsonl").open(encoding="utf-8")]
    spreads = [row["spread_chosen"] ** 2 + row["spread_rejected"] ** 2 for row in listed]
    test = pl.read_parquet(project / "data/processed/reward_test.parquet")
    assert {row["id"] for row in listed} == set(test["id"])
    assert all(a >= b - 1e-3 for a, b in pairwise(spreads))


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"stakeholders": {"found": "distributional"}}, "say who took it, and why"),
        ({"stakeholders": ON | {"by": "region"}}, "where `by` is null"),
        ({"stakeholders": ON | {"rule": "maximin"}}, "maximin is of groups"),
        ({"stakeholders": ON, "reward": {"criteria": {"honesty": 1.0}}}, "leave reward.criteria empty"),
        ({"stakeholders": ON, "reward": {"loss": "plackett_luce"}}, "reward.loss bradley_terry"),
        ({"stakeholders": ON, "reward": {"length_debias": True}}, "reward.length_debias false"),
        ({"stakeholders": ON | {"found": "mixture"}}, "write distributional, or a whole number of 0 or more"),
    ],
)
def test_what_a_distribution_is_not_of(sections: dict[str, Any], sentence: str, trained_project: Path) -> None:
    raw = yaml.safe_load((trained_project / "params.yaml").read_text())
    for name, section in sections.items():
        raw[name] |= section
    with pytest.raises(BadInput, match=sentence):
        params.parse(raw, "params.yaml")


def test_margins_are_refused(trained_project: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained_project, tmp_path / "project")
    file = folder / "data/processed/reward_train.parquet"
    pl.read_parquet(file).with_columns(margin=pl.lit(1.0)).write_parquet(file)
    with pytest.raises(BadInput, match="has margins, which a distribution of utilities has no place for"):
        run_stage_in(folder, "reward", stakeholders=ON)
