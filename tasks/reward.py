"""Stage `reward`: the reward model, and a judge by the same recipe on other prompts, which only evaluates."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from governance.digest import sha256_path, write_json, write_jsonl
from governance.errors import BadInput
from tasks import paths
from tasks.checkpoints import Checkpoints, checkpoints_of
from tasks.lineage import lineage_of
from tasks.plots import save_curves
from tasks.reward_baselines import bag_of_words_correct, length_correct, length_gaps
from tasks.reward_calibration import calibrate
from tasks.rlhf.encoding import encode_pairs, stop_token_id
from tasks.rlhf.ensembles import ensemble_scores, load_ensemble, member_folder, save_rule
from tasks.rlhf.models import (
    load_tokenizer,
    merged,
    new_reward_model,
    save_model,
    score_conversations,
    with_lora,
)
from tasks.rlhf.resume import Resume
from tasks.rlhf.reward_trainer import PairRow, train_reward
from tasks.splits import position, split_key
from tasks.stage import Stage, run_stage
from tasks.stats.intervals import bootstrap_mean, wilson

TRAIN = paths.PROCESSED / "reward_train.parquet"
TEST = paths.PROCESSED / "reward_test.parquet"
DEMONSTRATIONS = paths.PROCESSED / "sft.parquet"
LEVEL = 0.95
RESAMPLES = 1000


def body(stage: Stage) -> None:
    """Write `data/models/reward` and `data/models/judge`."""
    stage.input_model(paths.SFT)
    test = pl.read_parquet(stage.input_table(TEST, "evaluation"))
    stage.input_table(DEMONSTRATIONS, "centring")
    scores: dict[str, np.ndarray] = {}
    dev: dict[str, list[PairRow]] = {}
    kept: list[Checkpoints] = []
    for name, side, folder in (
        ("reward", "reward_train", paths.REWARD),
        ("judge", "judge_train", paths.JUDGE),
    ):
        table = stage.input_table(paths.PROCESSED / f"{side}.parquet", "training")
        dev[name] = _train(stage, name, table, folder, kept)
        if not stage.follows:
            scores[name] = _test_margins(stage, folder, test)
    if stage.follows:
        return
    rows = _metrics(stage, test, scores) + _calibration(stage, dev["reward"], test, scores["reward"])
    report = {"base_sha256": lineage_of(paths.REWARD)["base_sha256"], "metrics": rows}
    report |= {"reward_sha256": sha256_path(paths.REWARD), "judge_sha256": sha256_path(paths.JUDGE)}
    write_json(stage.report / "metrics.json", report)
    for checkpoints in kept:  # not before: a kill while the judge is trained takes the reward model, too
        checkpoints.remove()


def _train(stage: Stage, name: str, table: Path, folder: Path, kept: list[Checkpoints]) -> list[PairRow]:
    """Train and save one model, or an ensemble's members; gives the dev pairs, which they were not trained on. Checkpoints
    of each training are added to `kept`."""
    tokenizer = load_tokenizer(paths.SFT, trust_remote_code=stage.params.base.trust_remote_code)
    train, dev = _rows(stage, tokenizer, table)
    ensemble = stage.params.reward.ensemble
    best: dict[str, float] = {}
    lineage = lineage_of(paths.SFT) | {"data_sha256": sha256_path(table)}
    for k in range(1, (ensemble.members if name == "reward" else 1) + 1):
        # two heads that start alike would err alike
        seed = stage.seed + (name == "judge") + 2 * (k - 1)
        member = name if k == 1 else f"{name}-{k}"
        kept.append(checkpoints_of(stage, lineage, member))
        best |= _train_one(stage, member, train, dev, tokenizer, member_folder(folder, k), seed, kept[-1])
    if stage.follows:
        return dev
    if name == "reward" and ensemble.members > 1:
        save_rule(folder, ensemble)
    write_json(folder / "lineage.json", lineage)
    register = f"{stage.params.project}-reward" if name == "reward" else None
    stage.output_model(folder, lineage, register)
    stage.log_metrics(best, model=folder, table=table)
    return dev


def _train_one(
    stage: Stage,
    name: str,
    train: list[PairRow],
    dev: list[PairRow],
    tokenizer: Any,
    folder: Path,
    seed: int,
    checkpoints: Checkpoints,
) -> dict[str, float]:
    """Train one model and save it in `folder`; gives the figures of its best evaluation."""
    settings = stage.params.reward
    trust = stage.params.base.trust_remote_code
    model = new_reward_model(paths.SFT, tokenizer.pad_token_id, seed, trust_remote_code=trust)
    history: list[dict[str, float]] = []

    def on_log(step: int, values: dict[str, float]) -> None:
        history.append({"step": step, **{k: v for k, v in values.items() if "runtime" not in k and "second" not in k}})

    trained = with_lora(model, stage.params.lora, "SEQ_CLS", seed) if stage.params.lora.enabled else model
    if found := checkpoints.latest():
        stage.notes.setdefault("resumed_from_step", {})[name] = found.step
    resume = Resume(settings.save_steps, checkpoints.save, found)
    best = train_reward(trained, tokenizer, train, dev, settings, seed, on_log, name, resume)
    if stage.follows:
        return best
    model = merged(trained)
    model.config.reward_offset = _offset(stage, model, tokenizer)
    save_model(model, tokenizer, folder)
    write_jsonl(stage.report / f"history-{name}.jsonl", history)
    picture = stage.report / f"training-{name}.png"
    panels = {"loss": ["loss", "eval_loss"], "accuracy": ["rewards/accuracies", "eval_rewards/accuracies"]}
    save_curves(history, panels, picture, f"{name} model")
    stage.log_artifact(picture)
    stage.log_history([{(k if k == "step" else f"{name}/{k}"): v for k, v in row.items()} for row in history])
    return {f"{name}/dev/{k}": best[k] for k in ("loss", "rewards/accuracies", "best_step")}


def _rows(stage: Stage, tokenizer: Any, table: Path) -> tuple[list[PairRow], list[PairRow]]:
    """(training, dev) rows; dev by the prompt's hash, so that no prompt is on both."""
    frame = pl.read_parquet(table)
    if frame.height < 2:
        raise BadInput(f"{table}: has {frame.height} valid pairs; a reward model needs at least two.")
    longest = stage.params.reward.max_length
    stop, prompts = stop_token_id(tokenizer), frame["prompt"].to_list()
    sides = [encode_pairs(tokenizer, prompts, frame[s].to_list(), stop, longest) for s in ("chosen", "rejected")]
    rows = [
        PairRow(c[0] + c[1], r[0] + r[1], float(w), float(m or 0.0))
        for c, r, w, m in zip(*sides, frame["weight"], frame["margin"], strict=True)
    ]
    # The key is salted: the sides are intervals of the same hash, and the dev part must not be one end of its side.
    is_dev = [position("dev:" + split_key(p)) < stage.params.reward.dev_share for p in prompts]
    train = [r for r, dev in zip(rows, is_dev, strict=True) if not dev]
    dev = [r for r, dev in zip(rows, is_dev, strict=True) if dev]
    return (train, dev) if train and dev else (rows[1:], rows[:1])


def _offset(stage: Stage, model: Any, tokenizer: Any) -> float:
    """Mean score of the SFT demonstrations, so that after subtraction they score 0 on average."""
    messages = pl.read_parquet(DEMONSTRATIONS)["messages"].to_list()
    stop = stop_token_id(tokenizer)
    longest = stage.params.reward.max_length
    encoded = encode_pairs(tokenizer, [m[:-1] for m in messages], [m[-1:] for m in messages], stop, longest)
    model.config.reward_offset = 0.0
    rows = [p + a for p, a in encoded]
    return float(score_conversations(model, rows, tokenizer.pad_token_id, bf16=stage.params.reward.bf16).mean())


def _margins(stage: Stage, folder: Path, chosen: list[list[int]], rejected: list[list[int]]) -> np.ndarray:
    """(n,) score of chosen less score of rejected, of conversations as token ids."""
    trust = stage.params.base.trust_remote_code
    pad = load_tokenizer(folder, trust_remote_code=trust).pad_token_id
    model = load_ensemble(folder, trust_remote_code=trust)
    scores = [ensemble_scores(model, rows, pad, bf16=stage.params.reward.bf16) for rows in (chosen, rejected)]
    margins: np.ndarray = torch.sub(*scores).numpy()
    return margins


def _test_margins(stage: Stage, folder: Path, test: pl.DataFrame) -> np.ndarray:
    """(n,) margins on the test side."""
    tokenizer = load_tokenizer(folder, trust_remote_code=stage.params.base.trust_remote_code)
    stop, longest = stop_token_id(tokenizer), stage.params.reward.max_length
    prompts = test["prompt"].to_list()
    sides = [encode_pairs(tokenizer, prompts, test[s].to_list(), stop, longest) for s in ("chosen", "rejected")]
    chosen, rejected = ([p + a for p, a in side] for side in sides)
    return _margins(stage, folder, chosen, rejected)


def _calibration(stage: Stage, dev: list[PairRow], test: pl.DataFrame, margins: np.ndarray) -> list[dict[str, Any]]:
    held_out = _margins(stage, paths.REWARD, [r.chosen_ids for r in dev], [r.rejected_ids for r in dev])
    rows = calibrate(stage, held_out, np.array([r.weight for r in dev]), test, margins, LEVEL)
    for row in rows:
        table = TRAIN if row["name"] == "calibration/temperature" else TEST
        stage.log_metrics({row["name"]: row["value"]}, model=paths.REWARD, table=table)
    return rows


def _metrics(stage: Stage, test: pl.DataFrame, margins: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Rows of `metrics.json`; `slice` is null where all of the test side counts."""
    train = pl.read_parquet(TRAIN)
    right, judged = margins["reward"] > 0, margins["judge"] > 0
    longer = length_gaps(test) > 0
    rows = [
        _rate("accuracy/test", right),
        _rate("accuracy/judge_test", judged),
        _rate("accuracy/baseline_length", length_correct(train, test)),
        _rate("accuracy/baseline_bag_of_words", bag_of_words_correct(train, test, stage.seed)),
        _rate("agreement/reward_judge", right == judged),
        _rate("accuracy/test_chosen_longer", right[longer], "chosen answer longer"),
        _rate("accuracy/test_chosen_not_longer", right[~longer], "chosen answer not longer"),
    ]
    low, high = bootstrap_mean(margins["reward"], level=LEVEL, resamples=RESAMPLES, seed=stage.seed)
    mean = float(margins["reward"].mean(dtype=np.float64))
    rows.append({"name": "rewards/margins", "value": mean, "low": low, "high": high, "n": test.height, "slice": None})
    for row in rows:
        model = paths.JUDGE if "judge_test" in row["name"] else paths.REWARD
        if row["value"] is not None:
            stage.log_metrics({row["name"]: row["value"]}, model=model, table=TEST)
    return rows


def _rate(name: str, correct: np.ndarray, part: str | None = None) -> dict[str, Any]:
    successes, n = int(correct.sum()), len(correct)
    low, high = wilson(successes, n, LEVEL)
    return {"name": name, "value": successes / n if n else None, "low": low, "high": high, "n": n, "slice": part}


if __name__ == "__main__":
    run_stage("reward", body)
