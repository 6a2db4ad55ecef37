"""Stage `reward`: the reward model, and a judge by the same recipe on other prompts, which only evaluates."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from governance.digest import sha256_path, write_json, write_jsonl
from governance.errors import BadInput
from tasks import paths, process_measures, process_rewards
from tasks.checkpoints import Checkpoints, checkpoints_of
from tasks.lineage import lineage_of
from tasks.oversight.pairs import by_protocol
from tasks.plots import save_curves
from tasks.principle_pairs import by_principles
from tasks.rankings import rankings_of
from tasks.reward_criteria import heads_of
from tasks.reward_length import debias
from tasks.reward_measures import LEVEL, RESAMPLES, TEST, measured
from tasks.rlhf.branches import answer_scores
from tasks.rlhf.distributional import HEADS, begin_alike
from tasks.rlhf.encoding import encode_pairs, stop_token_id
from tasks.rlhf.ensembles import member_folder, save_rule
from tasks.rlhf.models import (
    declare_heads,
    load_tokenizer,
    merged,
    new_reward_model,
    save_model,
)
from tasks.rlhf.precision import autocast
from tasks.rlhf.reward_trainer import RankedRow, train_reward
from tasks.rlhf.sft_trainer import curves_into
from tasks.rlhf.sharding import plain
from tasks.rlhf.welfare import UTILITARIAN, declare_rule
from tasks.soft_pairs import with_soft_pairs
from tasks.splits import position, split_key
from tasks.stage import Stage, run_stage
from tasks.trainings import as_trained, resume_of

DEMONSTRATIONS = paths.PROCESSED / "sft.parquet"
PLAIN = {"loss": "bradley_terry", "criteria": "", "length_debias": "no", "rule": UTILITARIAN}


def body(stage: Stage) -> None:
    """Write `data/models/reward` and `data/models/judge`."""
    stage.input_model(paths.SFT)
    stage.input_table(TEST, "evaluation")
    stage.input_table(DEMONSTRATIONS, "centring")
    tokenizer = load_tokenizer(paths.SFT, trust_remote_code=stage.params.base.trust_remote_code)
    sides = {"reward": ("reward_train", paths.REWARD), "judge": ("judge_train", paths.JUDGE)}
    soft = [by_principles(stage), by_protocol(stage)]
    added = {"reward": [pairs for pairs, _, _ in soft], "judge": []}  # the judge stays people's
    soft_rows = [row for _, rows, _ in soft for row in rows]
    tables = {n: stage.input_table(paths.PROCESSED / f"{side}.parquet", "training") for n, (side, _) in sides.items()}
    rows = {
        name: _rows(stage, tokenizer, table, added[name]) for name, table in tables.items()
    }  # both, before any training
    by_steps = process_rewards.solutions_of(stage, tokenizer) if stage.params.process.solutions else None
    kept: list[Checkpoints] = []
    for name, (_, folder) in sides.items():
        lineage = lineage_of(paths.SFT) | {"data_sha256": sha256_path(tables[name])}
        for _, _, digest in soft if name == "reward" else ():
            lineage |= digest
        _train(
            stage,
            name,
            tables[name],
            rows[name],
            tokenizer,
            folder,
            lineage,
            kept,
            by_steps if name == "reward" else None,
        )
    if stage.follows:
        return
    stage.log_metrics({r["name"]: r["value"] for r in soft_rows if r["value"] is not None})
    figures = measured(stage, rows["reward"][1]) + soft_rows
    if by_steps:
        figures += process_measures.measured(stage, by_steps)
    report = {"base_sha256": lineage_of(paths.REWARD)["base_sha256"], "metrics": figures}
    report |= {"reward_sha256": sha256_path(paths.REWARD), "judge_sha256": sha256_path(paths.JUDGE)}
    write_json(stage.report / "metrics.json", report)
    for checkpoints in kept:  # not before: a kill while the judge is trained takes the reward model, too
        checkpoints.remove()


def _train(
    stage: Stage,
    name: str,
    table: Path,
    rows: tuple[list[RankedRow], list[RankedRow]],
    tokenizer: Any,
    folder: Path,
    lineage: dict[str, str],
    kept: list[Checkpoints],
    by_steps: process_rewards.Solutions | None,
) -> None:
    """Train and save one model, or an ensemble's members, on `rows` (training, dev), and inside its folder those of steps
    and outcomes, if there are solutions for them. Checkpoints of each training are added to `kept`."""
    ensemble = stage.params.reward.ensemble
    best: dict[str, float] = {}
    curves: list[dict[str, float]] = []
    recipe = _recipe(stage, name)
    for k in range(1, (ensemble.members if name == "reward" else 1) + 1):
        # two heads that start alike would err alike
        seed = stage.seed + (name == "judge") + 2 * (k - 1)
        member = name if k == 1 else f"{name}-{k}"
        kept.append(checkpoints_of(stage, lineage | {"loss": recipe["loss"]}, member))
        figures, history = _train_one(stage, member, *rows, tokenizer, member_folder(folder, k), seed, kept[-1])
        best |= figures
        curves += [{(k if k == "step" else f"{member}/{k}"): v for k, v in row.items()} for row in history]
    if by_steps:
        found, figures, history = process_rewards.train(stage, tokenizer, by_steps, kept)
        lineage, best, curves = lineage | found, best | figures, curves + history
    if stage.follows:
        return
    if name == "reward" and ensemble.members > 1:
        save_rule(folder, ensemble)
    write_json(folder / "lineage.json", lineage | {k: v for k, v in recipe.items() if v != PLAIN.get(k)})
    register = f"{stage.params.project}-reward" if name == "reward" else None
    stage.output_model(folder, lineage | recipe, register)
    stage.notes.setdefault("recipe", {})[name] = recipe
    stage.log_history(curves, folder, table)
    stage.log_metrics(best, model=folder, table=table)


def _recipe(stage: Stage, name: str) -> dict[str, str]:
    """What makes a reward model of the data, for the record, MLflow and, where it is not `PLAIN`, the lineage."""
    criteria = ", ".join(f"{weight:g} {criterion}" for criterion, weight in stage.params.reward.criteria.items())
    debiased = stage.params.reward.length_debias and name != "judge"
    decided = stage.params.stakeholders
    rule = f"quantile {decided.quantile:g}" if decided.rule == "quantile" else decided.rule
    by = {"groups": decided.by} if decided.by else {}
    loss = "distributional" if decided.distribution else stage.params.reward.loss
    return {"loss": loss, "criteria": criteria, "length_debias": "yes" if debiased else "no", "rule": rule} | by


def _train_one(
    stage: Stage,
    name: str,
    train: list[RankedRow],
    dev: list[RankedRow],
    tokenizer: Any,
    folder: Path,
    seed: int,
    checkpoints: Checkpoints,
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Train one model and save it in `folder`; gives the figures of its best evaluation, and the rows of its curves."""
    settings, decided = stage.params.reward, stage.params.stakeholders
    trust = stage.params.base.trust_remote_code
    named = HEADS if decided.distribution else settings.criteria
    heads = list(named.values()) or [1.0]
    model = new_reward_model(paths.SFT, tokenizer.pad_token_id, seed, heads=len(heads), trust_remote_code=trust)
    if decided.distribution:
        begin_alike(model)
    history: list[dict[str, float]] = []
    trained = as_trained(stage, model, "SEQ_CLS", seed)
    resume = resume_of(stage, checkpoints, name, settings.save_steps)
    log, distribution = curves_into(history), decided.distribution
    best = train_reward(
        trained, tokenizer, train, dev, settings, seed, log, name, resume, heads, distribution=distribution
    )
    trained = plain(trained)
    if stage.follows:
        return best, history
    model = merged(trained)
    if named:
        declare_heads(model, named)
    shown = _demonstrations(stage, tokenizer)
    if settings.length_debias and name != "judge":
        centre = float(np.mean([np.log(len(answer)) for _, answer in shown]))
        drawn = {"level": LEVEL, "resamples": RESAMPLES, "seed": seed}
        slopes = debias(model, dev, centre, drawn, bf16=settings.bf16)
        effect = dict(zip(settings.criteria or ["score"], slopes, strict=True))
        stage.notes.setdefault("length_effect", {})[name] = effect
    model.config.reward_offset = _offset(stage, model, shown)
    said = zip(named or ["score"], heads, np.ravel(model.config.reward_offset).tolist(), strict=True)
    stage.notes.setdefault("heads", {})[name] = {head: {"weight": w, "bias": bias} for head, w, bias in said}
    declare_rule(model, decided.rule, decided.quantile, distribution=distribution)
    save_model(model, tokenizer, folder)
    write_jsonl(stage.report / f"history-{name}.jsonl", history)
    picture = stage.report / f"training-{name}.png"
    panels = {"loss": ["loss", "eval_loss"], "accuracy": ["rewards/accuracies", "eval_rewards/accuracies"]}
    save_curves(history, panels, picture, f"{name} model")
    stage.log_artifact(picture)
    return {f"{name}/dev/{k}": best[k] for k in ("loss", "rewards/accuracies", "best_step")}, history


def _rows(
    stage: Stage, tokenizer: Any, table: Path, soft: list[pl.DataFrame]
) -> tuple[list[RankedRow], list[RankedRow]]:
    """(training, dev) rows; dev by the prompt's hash, so that no prompt is on both. `soft`: further rows, by models."""
    frame = pl.read_parquet(table)
    if frame.height < 2:
        raise BadInput(f"{table}: has {frame.height} valid pairs; a reward model needs at least two.")
    frame = with_soft_pairs(frame, soft)
    _refuse_margins(stage, frame, table)
    longest = stage.params.reward.max_length
    rankings = rankings_of(frame, str(table))
    prompts = [r.prompt for r in rankings for _ in r.answers]
    answers = [answer for r in rankings for answer in r.answers]
    encoded = iter(encode_pairs(tokenizer, prompts, answers, stop_token_id(tokenizer), longest))
    heads = heads_of(rankings, stage.params.reward.criteria, table)
    rows = []
    for r, head in zip(rankings, heads, strict=True):
        prompt_ids, answer_ids = zip(*(next(encoded) for _ in r.answers), strict=True)
        conversations = [p + a for p, a in zip(prompt_ids, answer_ids, strict=True)]
        rows.append(RankedRow(conversations, r.weights, r.margins, head, [len(a) for a in answer_ids]))
    # The key is salted: the sides are intervals of the same hash, and the dev part must not be one end of its side.
    is_dev = [position("dev:" + split_key(r.prompt)) < stage.params.reward.dev_share for r in rankings]
    train = [r for r, dev in zip(rows, is_dev, strict=True) if not dev]
    dev = [r for r, dev in zip(rows, is_dev, strict=True) if dev]
    return (train, dev) if train and dev else (rows[1:], rows[:1])


def _refuse_margins(stage: Stage, frame: pl.DataFrame, table: Path) -> None:
    if not (frame["margin"].fill_null(0.0) != 0).any():
        return
    if stage.params.reward.loss == "plackett_luce":
        raise BadInput(
            f"{table}: has margins, which belong to pairs; set reward.loss to bradley_terry, or leave the field margin out."
        )
    if stage.params.stakeholders.distribution:
        raise BadInput(
            f"{table}: has margins, which a distribution of utilities has no place for; leave the field margin out, or set "
            "stakeholders.found to 0."
        )


def _demonstrations(stage: Stage, tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, response ids) of the SFT demonstrations."""
    messages = pl.read_parquet(DEMONSTRATIONS)["messages"].to_list()
    stop, longest = stop_token_id(tokenizer), stage.params.reward.max_length
    return encode_pairs(tokenizer, [m[:-1] for m in messages], [m[-1:] for m in messages], stop, longest)


def _offset(stage: Stage, model: Any, shown: list[tuple[list[int], list[int]]]) -> float | list[float]:
    """Mean score of the demonstrations `shown`, so that after subtraction they score 0 on average; of each head apart
    where there are criteria, and of the mean alone where there is a spread."""
    model.config.reward_offset = 0.0
    rows, lengths = [p + a for p, a in shown], [len(a) for _, a in shown]
    with autocast(stage.params.reward.bf16, model.device):
        scores = answer_scores(model, rows, lengths)
    if stage.params.stakeholders.distribution:
        return [float(scores[:, 0].mean()), 0.0]
    if not stage.params.reward.criteria:
        return float(scores.mean())
    means: list[float] = scores.reshape(len(rows), -1).mean(0).tolist()
    return means


if __name__ == "__main__":
    run_stage("reward", body)
