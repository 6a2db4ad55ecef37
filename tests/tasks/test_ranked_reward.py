"""Reward models from rankings: on rankings whose truth is known, and real answers through the stages."""

import contextlib
import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml

from flows import model_facts
from governance.digest import sha256_path
from governance.errors import BadInput
from governance.model_card import model_card
from tasks import params
from tasks.paths import STAGES
from tasks.rlhf.models import load_tokenizer, new_reward_model
from tasks.rlhf.reward_trainer import RankedRow, collator, pair_scores, ranking_loss, train_reward
from tasks.splits import split_key
from tasks.stats.intervals import wilson_clustered
from tests.conftest import ROOT, run_stage_in
from tests.tasks.scored_alone import scored_alone
from tests.tasks.test_reward import GOOD, SETTINGS

WAYS = 4


def simulated(n: int, seed: int, ways: int = WAYS) -> tuple[list[RankedRow], list[list[int]]]:
    """SIMULATED rankings, and how many tokens GOOD each answer holds. Its utility is 1.5 a token; with Gumbel's noise on
    it the order is one drawn from Plackett–Luce."""
    draw, rows, truths = random.Random(seed), [], []
    for _ in range(n):
        prompt = [draw.randrange(50, 400) for _ in range(3)]
        counts = [draw.randrange(4) for _ in range(ways)]
        noisy = {k: 1.5 * c - np.log(-np.log(draw.random())) for k, c in enumerate(counts)}
        order = sorted(noisy, key=noisy.__getitem__, reverse=True)
        answers = []
        for k in order:
            body = [GOOD] * counts[k] + [draw.randrange(50, 400) for _ in range(6 - counts[k])]
            draw.shuffle(body)
            answers.append([*prompt, *body, 1])
        pairs = ways * (ways - 1) // 2
        rows.append(RankedRow(answers, [1.0] * pairs, [0.0] * pairs))
        truths.append([counts[k] for k in order])
    return rows, truths


def orders(model: Any, rows: list[RankedRow], truths: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """(whether the head orders each pair of unlike answers as the truth does, number of its ranking)."""
    scores = scored_alone(model.cpu(), [a for r in rows for a in r.answers]).view(len(rows), -1).numpy()
    right, of = [], []
    for k, (score, truth) in enumerate(zip(scores, truths, strict=True)):
        for i in range(len(truth)):
            for j in range(i + 1, len(truth)):
                if truth[i] != truth[j]:
                    right.append((score[i] > score[j]) == (truth[i] > truth[j]))
                    of.append(k)
    return np.array(right), np.array(of)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("loss", ["bradley_terry", "plackett_luce"])
def test_a_head_trained_on_rankings_orders_answers_that_it_never_saw(
    loss: str, seed: int, tiny_model_folder: Path
) -> None:
    rows, _ = simulated(160, seed)
    held_out, truths = simulated(60, seed + 1000)
    model = new_reward_model(tiny_model_folder, 0, seed)
    before = wilson_clustered(*orders(model, held_out, truths))
    settings = SimpleNamespace(**(vars(SETTINGS) | {"loss": loss, "epochs": 4}))
    train_reward(
        model, load_tokenizer(tiny_model_folder), rows[32:], rows[:32], settings, seed, lambda *_: None, "reward"
    )
    low, _ = wilson_clustered(*orders(model, held_out, truths))
    assert low > 0.6
    assert low > before[1]


def test_a_batch_of_mixed_rankings_by_hand() -> None:
    """Two pairs and a ranking of three: each counts as one, and each weight is its own."""
    two, three = ([RankedRow.pair([5], [6], 0.5), RankedRow.pair([7], [8], 2.0)], [[9], [10], [11]])
    rows = [two[0], RankedRow(three, [1.0, 0.5, 1.5], [0.0, 0.2, 0.0]), two[1]]
    batch = collator(0)([vars(r) for r in rows])
    assert batch["input_ids"][:, 0].tolist() == [5, 7, 6, 8, 9, 10, 11]
    scores = torch.tensor([1.0, -0.5, 0.2, 0.4, 0.9, 0.1, 0.3], dtype=torch.float32)
    ls = torch.nn.functional.logsigmoid
    by_pair = [0.5 * -ls(torch.tensor(0.8)), 2.0 * -ls(torch.tensor(-0.9))]
    ranked = [1.0 * -ls(torch.tensor(0.8)), 0.5 * -ls(torch.tensor(0.6 - 0.2)), 1.5 * -ls(torch.tensor(-0.2))]
    settings = SimpleNamespace(loss="bradley_terry", label_smoothing=0.0)
    expected = (sum(by_pair) + sum(ranked) / 3) / 3
    torch.testing.assert_close(ranking_loss(scores, batch["groups"], settings), expected)
    s = scores[4:].exp()
    likelihood = torch.log(s[0] / s.sum()) + torch.log(s[1] / (s[1] + s[2]))
    settings.loss = "plackett_luce"
    torch.testing.assert_close(ranking_loss(scores, batch["groups"], settings), (sum(by_pair) - likelihood) / 3)
    better, worse = pair_scores(scores, batch["groups"])
    assert better.tolist() == pytest.approx([1.0, -0.5, 0.9, 0.9, 0.1])
    assert worse.tolist() == pytest.approx([0.2, 0.4, 0.1, 0.3, 0.3])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, hh_rows: list[Any]) -> Path:
    """Real prompts with three real answers each, of which the third is another prompt's: a ranking, every other one about
    honesty. Every stage ran on them, with all that a reward model can be asked for."""
    folder = tmp_path_factory.mktemp("rankings")
    rows = []
    for k, row in enumerate(hh_rows):
        answers = [row["rejected"], hh_rows[k - 1]["rejected"], row["chosen"]]
        about = {"criterion": "honesty"} if k % 2 else {}
        rows.append(
            {"item_id": row["id"], "prompt": row["prompt"], "responses": answers, "ranking": [2, 0, 1], **about}
        )
    (folder / "ranked.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    settings = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    settings["ingest"] |= {"preferences": "ranked.jsonl", "audits": {}}
    settings["validate"]["max_quarantine_share"] = 0.5
    settings["base"]["model"] = str(tiny_model_folder)
    for stage in ("sft", "reward"):
        settings[stage] |= {"epochs": 1, "batch": 8, "max_length": 96, "learning_rate": 0.002}
    settings["reward"] |= {"loss": "plackett_luce", "criteria": {"honesty": 0.5}, "length_debias": True}
    settings["ppo"] |= {"episodes": 16, "batch": 8, "minibatch": 4, "epochs": 1, "max_new_tokens": 8}
    settings["evaluate"] |= {"samples_per_prompt": 1, "max_new_tokens": 8, "bootstrap": 50, "best_of_n": 2}
    (folder / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    for stage in STAGES:
        run_stage_in(folder, stage)
    return folder


def test_rankings_keep_together_from_ingest_to_the_reward_model(project: Path) -> None:
    sides = {s: pl.read_parquet(project / f"data/processed/{s}.parquet") for s in ("reward_train", "reward_test")}
    keys = {side: {split_key(p) for p in table["prompt"].to_list()} for side, table in sides.items()}
    assert not keys["reward_train"] & keys["reward_test"]
    sizes = sides["reward_train"].group_by("ranking_id").len()["len"].to_list()
    assert set(sizes) <= {1, 3}  # two answers or three
    assert sizes.count(3) > 20
    record = json.loads((project / "data/reports/reward/record.json").read_text())
    assert record["notes"]["recipe"]["reward"]["loss"] == "plackett_luce"
    lineage = json.loads((project / "data/models/reward/lineage.json").read_text())
    assert lineage["loss"] == "plackett_luce"
    metrics = json.loads((project / "data/reports/reward/metrics.json").read_text())["metrics"]
    accuracy = next(r for r in metrics if r["name"] == "accuracy/test")
    assert accuracy["n"] == sides["reward_test"].height
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]


def test_the_policy_and_its_evaluation_read_that_reward(project: Path) -> None:
    folder = project / "data/models/reward"
    config = json.loads((folder / "config.json").read_text())
    assert (config["head_weights"], len(config["length_effect"]["slope"])) == ([0.5], 1)
    lineage = json.loads((project / "data/models/policy/lineage.json").read_text())
    assert lineage["reward_sha256"] == sha256_path(folder)
    names = {r["name"] for r in json.loads((project / "data/reports/evaluate/metrics.json").read_text())["metrics"]}
    assert {"reward/policy", "reward/best_of_n", "win_rate/policy_vs_sft"} <= names


def test_the_card_names_loss_heads_and_weights(project: Path) -> None:
    with contextlib.chdir(project):
        settings = params.load(Path("params.yaml"))
        facts = model_facts.model_facts("reward", "reward", Path("data/models/reward"), settings, set(STAGES))
    card = model_card(facts)
    for said in ("plackett_luce", "| criteria | {'honesty': 0.5} |", "| length_debias | True |"):
        assert said in card
    for name in ("accuracy/test/honesty", "calibration/temperature/honesty", "length/correlation"):
        assert f"| {name} |" in card


def test_margins_are_refused_by_plackett_luce(project: Path) -> None:
    file = project / "data/processed/judge_train.parquet"
    before = file.read_bytes()
    pl.read_parquet(file).with_columns(margin=pl.lit(0.5)).write_parquet(file)
    with pytest.raises(BadInput, match=r"judge_train\.parquet: has margins, which belong to pairs"):
        run_stage_in(project, "reward")
    file.write_bytes(before)
