import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from governance.digest import sha256_path
from tasks.reward_baselines import bag_of_words_correct, length_correct
from tasks.rlhf.encoding import encode_pairs, stop_token_id
from tasks.rlhf.ensembles import ensemble_scores, load_ensemble
from tasks.rlhf.losses import bradley_terry
from tasks.rlhf.models import (
    load_reward_model,
    load_tokenizer,
    merged,
    new_reward_model,
    with_lora,
)
from tasks.rlhf.reward_trainer import RankedRow, train_reward
from tasks.splits import position, split_key
from tasks.stats.intervals import wilson
from tests.tasks.scored_alone import scored_alone

SETTINGS = SimpleNamespace(
    epochs=2, batch=8, learning_rate=5e-3, max_length=64, bf16=False, loss="bradley_terry", label_smoothing=0.0
)
LORA = SimpleNamespace(rank=4, alpha=8, dropout=0.0)
GOOD = 40


def planted(n: int, weight: float = 1.0) -> list[RankedRow]:
    """Pairs of random tokens; the chosen one holds the token GOOD."""
    draw = random.Random(5)

    def conversation(token: int) -> list[int]:
        ids = [draw.randrange(50, 400) for _ in range(draw.randrange(4, 12))]
        return [*ids[:2], token, *ids[2:], 1]

    return [RankedRow.pair(conversation(GOOD), conversation(GOOD + 1), weight) for _ in range(n)]


def train(model: Any, folder: Path, rows: list[RankedRow], **changes: Any) -> tuple[dict[str, float], list[Any]]:
    history: list[dict[str, float]] = []
    settings = SimpleNamespace(**(vars(SETTINGS) | changes))
    on_log = lambda step, values: history.append({"step": step, **values})  # noqa: E731
    return train_reward(model, load_tokenizer(folder), rows[16:], rows[:16], settings, 7, on_log, "reward"), history


def margins(model: Any, rows: list[RankedRow]) -> torch.Tensor:
    model = model.cpu()
    return scored_alone(model, [r.answers[0] for r in rows]) - scored_alone(model, [r.answers[1] for r in rows])


@pytest.mark.parametrize("lora", [False, True])
def test_learns_what_tells_chosen_from_rejected(tiny_model_folder: Path, lora: bool) -> None:
    model, rows = new_reward_model(tiny_model_folder, 0, seed=1), planted(240)
    head = model.score.weight.detach().clone()
    trained = with_lora(model, LORA, "SEQ_CLS", 7) if lora else model
    train(trained, tiny_model_folder, rows[:200], epochs=4, learning_rate=2e-2 if lora else 5e-3)
    model = merged(trained)
    assert (margins(model, rows[200:]) > 0).float().mean() >= 0.9
    assert not torch.equal(model.score.weight.cpu(), head)


def test_row_weights_reach_the_loss(tiny_model_folder: Path) -> None:
    """Rows that weigh nothing change nothing; the same rows at weight 1 do."""
    before = new_reward_model(tiny_model_folder, 0, seed=1).state_dict()
    for weight, same in ((0.0, True), (1.0, False)):
        model = new_reward_model(tiny_model_folder, 0, seed=1)
        train(model, tiny_model_folder, planted(32, weight), epochs=1)
        after = model.state_dict()
        assert all(torch.equal(after[k].cpu(), v) for k, v in before.items()) is same


def test_margin_reaches_the_loss(tiny_model_folder: Path) -> None:
    rows = [RankedRow.pair(r.answers[0], r.answers[1], 1.0, 2.5) for r in planted(32)]
    model = new_reward_model(tiny_model_folder, 0, seed=1)
    best, _ = train(model, tiny_model_folder, rows, epochs=1)
    dev = margins(model, rows[:16])
    expected = bradley_terry(dev, torch.zeros(16), margin=torch.full((16,), 2.5)).item()
    assert best["loss"] == pytest.approx(expected, rel=1e-3)


def test_label_smoothing_reaches_the_loss(tiny_model_folder: Path) -> None:
    rows = planted(32)
    model = new_reward_model(tiny_model_folder, 0, seed=1)
    best, _ = train(model, tiny_model_folder, rows, epochs=1, label_smoothing=0.3)
    dev = margins(model, rows[:16])
    expected = bradley_terry(dev, torch.zeros(16), label_smoothing=0.3).item()
    assert best["loss"] == pytest.approx(expected, rel=1e-3)
    assert abs(expected - bradley_terry(dev, torch.zeros(16)).item()) > 1e-2 * expected


def test_keeps_the_weights_of_the_best_dev_loss(tiny_model_folder: Path) -> None:
    """Labels are noise, so that training longer only makes the dev loss worse."""
    draw = random.Random(3)
    noise = [
        r if draw.random() < 0.5 else RankedRow.pair(r.answers[1], r.answers[0])
        for r in (
            [RankedRow.pair(p.answers[1], q.answers[1]) for p, q in zip(planted(48), planted(96)[48:], strict=True)]
        )
    ]
    model = new_reward_model(tiny_model_folder, 0, seed=1)
    best, history = train(model, tiny_model_folder, noise, epochs=8, learning_rate=1e-2)
    losses = [h["eval_loss"] for h in history if "eval_loss" in h]
    assert best["loss"] == min(losses) < losses[-1]
    assert losses[:-1] == sorted(losses[:-1], reverse=True)  # ends at the first rise
    assert len(losses) < 16
    dev = margins(model, noise[:16])
    assert bradley_terry(dev, torch.zeros(16)).item() == pytest.approx(min(losses), rel=1e-3)


def test_stage_measures_both_models_beside_the_baselines(trained_project: Path) -> None:
    report = json.loads((trained_project / "data/reports/reward/metrics.json").read_text())
    models = trained_project / "data/models"
    test = pl.read_parquet(trained_project / "data/processed/reward_test.parquet")
    rows = {r["name"]: r for r in report["metrics"]}
    rates = {
        "accuracy/test",
        "accuracy/judge_test",
        "accuracy/baseline_length",
        "accuracy/baseline_bag_of_words",
        "agreement/reward_judge",
    }
    calibration = {"calibration/ece", "calibration/ece_scaled", "calibration/ece_if_calibrated"}
    assert rates | calibration | {"rewards/margins"} == {r["name"] for r in report["metrics"] if r["slice"] is None}
    for name in rates:
        row = rows[name]
        assert row["n"] == test.height
        assert (row["low"], row["high"]) == pytest.approx(wilson(round(row["value"] * row["n"]), row["n"], 0.95))
    parts = [r for r in report["metrics"] if r["slice"] and r["name"].startswith("accuracy/")]
    assert sum(r["n"] for r in parts) == test.height
    assert rows["rewards/margins"]["low"] <= rows["rewards/margins"]["value"] <= rows["rewards/margins"]["high"]

    base = json.loads((models / "base/lineage.json").read_text())["base_sha256"]
    assert report["base_sha256"] == base
    for name, side in (("reward", "reward_train"), ("judge", "judge_train")):
        lineage = json.loads((models / name / "lineage.json").read_text())
        assert lineage["base_sha256"] == base
        assert lineage["sft_sha256"] == sha256_path(models / "sft")
        assert lineage["data_sha256"] == sha256_path(trained_project / f"data/processed/{side}.parquet")
        assert report[f"{name}_sha256"] == sha256_path(models / name)
    record = json.loads((trained_project / "data/reports/reward/record.json").read_text())
    assert record["notes"]["registered"] == {"name": "attestrl-reward", "version": "1"}
    assert set(record["models"]) == {"data/models/reward", "data/models/judge"}


@pytest.mark.parametrize("name", ["reward", "judge"])
def test_demonstrations_score_zero_on_average(trained_project: Path, name: str) -> None:
    folder = trained_project / "data/models" / name
    model, tokenizer = load_reward_model(folder), load_tokenizer(folder)
    messages = pl.read_parquet(trained_project / "data/processed/sft.parquet")["messages"].to_list()
    stop = stop_token_id(tokenizer)
    pairs = encode_pairs(tokenizer, [m[:-1] for m in messages], [m[-1:] for m in messages], stop, 96)
    scores = scored_alone(model, [p + a for p, a in pairs])
    assert scores.std() > 0
    assert abs(float(scores.mean())) < 0.01  # the stage scored in bf16


def test_temperature_is_that_of_the_dev_part_of_the_training_side(trained_project: Path) -> None:
    """Worked out again from the saved model: by a grid, on the pairs that the stage keeps from training."""
    folder = trained_project / "data/models/reward"
    tokenizer = load_tokenizer(folder)
    frame = pl.read_parquet(trained_project / "data/processed/reward_train.parquet")
    held_out = [position("dev:" + split_key(p)) < 0.1 for p in frame["prompt"].to_list()]
    rows, stop = frame.filter(pl.Series(held_out)), stop_token_id(tokenizer)
    assert 0 < rows.height < frame.height
    read: list[list[int]] = []
    for side in ("chosen", "rejected"):
        pairs = encode_pairs(tokenizer, rows["prompt"].to_list(), rows[side].to_list(), stop, 96)
        read += [p + a for p, a in pairs]
    # as the stage reads them: together, and in the same precision, since in bf16 both show in the third digit
    scores = ensemble_scores(load_ensemble(folder), read, bf16="auto").reshape(2, -1)
    grid = torch.logspace(-2, 2, 4001)
    losses = torch.nn.functional.softplus(-(scores[0] - scores[1])[None].double() / grid[:, None]).mean(1)
    record = json.loads((trained_project / "data/reports/reward/record.json").read_text())
    found = record["notes"]["calibration"]
    assert found["temperature"] == pytest.approx(float(grid[losses.argmin()]), rel=3e-3)
    assert found["fitted_on"] == rows.height
    assert record["metrics"]["calibration/temperature"] == found["temperature"]
    assert record["metrics"]["calibration/ece"] == found["ece"]
    assert (trained_project / "data/reports/reward/reliability.png").read_bytes().startswith(b"\x89PNG")


def table(pairs: list[tuple[str, str]]) -> pl.DataFrame:
    def say(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    return pl.DataFrame([{"chosen": say(c), "rejected": say(r)} for c, r in pairs])


def test_length_baseline_learns_the_direction_from_training_alone() -> None:
    longer = table([("aaaa", "a"), ("bbbbb", "bb"), ("c", "cc")])
    shorter = table([("a", "aaaa"), ("bb", "bbbbb"), ("cc", "c")])
    equal = table([("xy", "yx")])
    assert length_correct(longer, longer).tolist() == [True, True, False]
    assert length_correct(longer, shorter).tolist() == [False, False, True]
    assert length_correct(shorter, shorter).tolist() == [True, True, False]
    assert length_correct(longer, equal).tolist() == [False]


def test_bag_of_words_learns_words_from_training_alone() -> None:
    draw = random.Random(1)
    nouns = ["river", "house", "music", "table", "garden", "window"]

    def pairs(n: int) -> list[tuple[str, str]]:
        return [(f"{draw.choice(nouns)} certainly", f"{draw.choice(nouns)} nonsense") for _ in range(n)]

    train_rows, test_pairs = table(pairs(60)), pairs(40)
    assert bag_of_words_correct(train_rows, table(test_pairs), 7).all()
    turned = table([(r, c) for c, r in test_pairs])
    assert not bag_of_words_correct(train_rows, turned, 7).any()


def test_bag_of_words_finds_signal_in_real_pairs(hh_rows: list[Any]) -> None:
    """Beside chance on other prompts, far above it on the pairs it was trained on: the labels are not shuffled."""
    rows = pl.DataFrame(hh_rows)
    right = bag_of_words_correct(rows, rows, 7)
    assert right.dtype == np.bool_
    assert right.mean() > 0.6


def test_every_figure_names_its_model_and_its_data(trained_project: Path) -> None:
    """As MLflow has them: the curves of the training, too."""
    import sqlite3

    with sqlite3.connect(trained_project / ".attestrl/mlflow.db") as store:
        logged = store.execute("SELECT DISTINCT r.name, m.key FROM metrics m JOIN runs r USING (run_uuid)").fetchall()
        tied = store.execute(
            "SELECT DISTINCT r.name, m.metric_name, o.name || ' on ' || m.dataset_name FROM logged_model_metrics m "
            "JOIN runs r ON r.run_uuid = m.run_id JOIN logged_models o USING (model_id) WHERE m.dataset_name NOT NULL"
        ).fetchall()
    known = {(run, metric): about for run, metric, about in tied}
    trainings = [pair for pair in logged if pair[0] in ("sft", "reward")]
    assert [pair for pair in trainings if pair not in known] == []
    assert known["sft", "loss"] == "sft on data/processed/sft.parquet"
    assert known["reward", "judge/loss"] == "judge on data/processed/judge_train.parquet"
    assert known["reward", "reward/eval_loss"] == "reward on data/processed/reward_train.parquet"
