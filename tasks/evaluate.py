"""Stage `evaluate`: policy against SFT against base on held-out prompts, under a judge trained on other data."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from governance.digest import sha256_path, write_json, write_jsonl
from governance.errors import GateRefused
from governance.template import render
from tasks import paths
from tasks.evals.best_of_n import best_of_n
from tasks.evals.generation import Responses, respond
from tasks.evals.welfare import group_welfare, other_choices
from tasks.evals.win_rate import Rate, length_controlled, win_rate
from tasks.lineage import lineage_of
from tasks.plots import canvas, save
from tasks.progress import bar
from tasks.rlhf.best_of_n import best_of_n_kl
from tasks.rlhf.distributional import spread
from tasks.rlhf.encoding import encode_prompts
from tasks.rlhf.ensembles import load_ensemble, member_scores
from tasks.rlhf.models import load_tokenizer
from tasks.rlhf.ppo_losses import score_without_end
from tasks.stage import Stage, run_stage
from tasks.stats.intervals import bootstrap_mean

PROMPTS = paths.PROCESSED / "eval_prompts.parquet"
HISTORY = paths.report("ppo") / "history.jsonl"
JUDGED = paths.report("reward") / "metrics.json"
MODELS = {"base": paths.BASE, "sft": paths.SFT, "policy": paths.POLICY}
MEASURED = MODELS | {"best": paths.SFT}  # best-of-n is SFT's, and needs no training
SCORERS = {"judge": paths.JUDGE, "reward": paths.REWARD}
SHOWN = 12
MAX_PROMPT_TOKENS = 256
LEAST_PROMPTS = 5  # of a group that a figure is given of


def body(stage: Stage) -> None:
    """Write `data/reports/evaluate`."""
    for folder in (*MODELS.values(), *SCORERS.values()):
        stage.input_model(folder)
    digests = _digests()
    table = pl.read_parquet(stage.input_table(PROMPTS, "evaluation"))
    prompts = encode_prompts(load_tokenizer(paths.BASE), table["prompt"].to_list(), MAX_PROMPT_TOKENS)
    responses = _respond(stage, prompts)
    if stage.params.evaluate.best_of_n:
        responses["best_of_n"] = _best_of_n(stage, prompts)
    scores = {name: _score(folder, responses) for name, folder in SCORERS.items()}
    rows = _metrics(stage, responses, scores)
    if stage.params.reward.criteria:
        rows += _welfare(stage, responses)
    if stage.params.stakeholders.distribution:
        rows += _spreads(stage, responses)
    groups = _by_group(stage, table, scores["judge"])
    write_json(stage.report / "metrics.json", {**digests, "metrics": rows + groups})
    write_jsonl(stage.report / "samples.jsonl", _samples(stage, table, responses, scores["judge"]))
    _reward_against_kl(stage.report / "reward_kl.png", stage.params.method)
    figures = {r["name"]: r for r in rows}
    settings, method = stage.params.evaluate, stage.params.method
    said = {"figures": figures, "judge": _agreement_with_people(), "prompts": table.height, "settings": settings}
    text = render("evaluation.md.j2", rows=rows + groups, method=method, **said)
    (stage.report / "report.md").write_text(text, encoding="utf-8")
    for name in ("report.md", "samples.jsonl", "reward_kl.png"):
        stage.log_artifact(stage.report / name)
    for row in rows:
        model = MEASURED.get(row["name"].split("/")[1].split("_")[0], paths.POLICY)
        stage.log_metrics({row["name"]: row["value"]}, model=model, table=PROMPTS)


def _digests() -> dict[str, str]:
    """SHA-256 of every model. Raises GateRefused if they do not descend from one base."""
    bases = {f.name: lineage_of(f)["base_sha256"] for f in (*MODELS.values(), *SCORERS.values())}
    if len(set(bases.values())) != 1:
        named = ", ".join(f"{k} {v[:12]}" for k, v in bases.items())
        raise GateRefused(f"the models descend from different bases ({named}); run again from base.")
    folders = {"sft": paths.SFT, "reward": paths.REWARD, "judge": paths.JUDGE, "policy": paths.POLICY}
    return {"base_sha256": bases["base"]} | {f"{k}_sha256": sha256_path(v) for k, v in folders.items()}


def _respond(stage: Stage, prompts: list[list[int]]) -> dict[str, Responses]:
    settings = stage.params.evaluate
    return {
        name: respond(
            folder,
            prompts,
            samples=settings.samples_per_prompt,
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            seed=stage.seed,
            reference=paths.SFT if name == "policy" else None,
        )
        for name, folder in MODELS.items()
    }


def _best_of_n(stage: Stage, prompts: list[list[int]]) -> Responses:
    """Best-of-n by what PPO maximises: the reward model's score, with PPO's rule for answers without an end."""
    settings, ppo = stage.params.evaluate, stage.params.ppo
    candidates = respond(
        paths.SFT,
        prompts,
        samples=settings.samples_per_prompt * settings.best_of_n,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        seed=stage.seed + 1,  # not the draws of the SFT responses that it is compared with
    )
    scores = torch.from_numpy(_score(paths.REWARD, {"sft": candidates})["sft"])
    scores = score_without_end(scores, candidates.ended, ppo.missing_eos_score, ppo.missing_eos_penalty)
    return best_of_n(candidates, scores.numpy(), settings.best_of_n)


def _score(folder: Path, responses: dict[str, Responses], *, heads_apart: bool = False) -> dict[str, np.ndarray]:
    """Scores (B,) of each model's responses, (B, C) of C heads apart. What all of them answer is read once, and equal
    answers are scored once, so that they tie."""
    ensemble = load_ensemble(folder, heads_apart=heads_apart)
    rows = {n: list(zip(map(tuple, r.ids), r.lengths.tolist(), strict=True)) for n, r in responses.items()}
    place = {row: i for i, row in enumerate(dict.fromkeys(row for some in rows.values() for row in some))}
    conversations, lengths = [list(ids) for ids, _ in place], [length for _, length in place]
    with bar(len(place) * len(ensemble.members), f"score: {folder.name}", "response") as progress:
        members = member_scores(ensemble, conversations, lengths=lengths, advance=progress.update)
    scores = ensemble.combine(members).double().numpy()
    return {name: scores[[place[row] for row in some]] for name, some in rows.items()}


def _metrics(
    stage: Stage, responses: dict[str, Responses], scores: dict[str, dict[str, np.ndarray]]
) -> list[dict[str, Any]]:
    settings = stage.params.evaluate
    samples = settings.samples_per_prompt
    drawn: dict[str, Any] = {"level": settings.level, "resamples": settings.bootstrap, "seed": stage.seed}
    lengths = {name: r.lengths.numpy() for name, r in responses.items()}
    prompts = np.repeat(np.arange(len(lengths["sft"]) // samples), samples)
    judge = scores["judge"]
    rows = [
        _row("win_rate/policy_vs_sft", win_rate(judge["policy"], judge["sft"], samples, **drawn)),
        _row("win_rate/sft_vs_base", win_rate(judge["sft"], judge["base"], samples, **drawn)),
    ]
    both = (lengths["policy"], lengths["sft"])
    controlled = length_controlled(judge["policy"], judge["sft"], both, samples, **drawn)
    rows.append(_row("win_rate_length_controlled/policy_vs_sft", controlled))
    if "best_of_n" in responses:
        n, best = settings.best_of_n, judge["best_of_n"]
        both = (lengths["best_of_n"], lengths["sft"])
        controlled = length_controlled(best, judge["sft"], both, samples, **drawn)
        rows += [
            _row("win_rate/best_of_n_vs_sft", win_rate(best, judge["sft"], samples, **drawn)),
            _row("win_rate/policy_vs_best_of_n", win_rate(judge["policy"], best, samples, **drawn)),
            _row("win_rate_length_controlled/best_of_n_vs_sft", controlled),
            _row("kl/best_of_n_from_sft", Rate(best_of_n_kl(n), best_of_n_kl(n), best_of_n_kl(n), n)),
        ]

    def mean(name: str, values: np.ndarray, weights: np.ndarray | None = None) -> None:
        low, high = bootstrap_mean(values, clusters=prompts, weights=weights, **drawn)
        value = float(values.sum() / (len(values) if weights is None else weights.sum()))
        rows.append(_row(name, Rate(value, low, high, len(values))))

    policy_kl = responses["policy"].kl
    assert policy_kl is not None
    mean("kl/policy_from_sft", policy_kl.numpy())
    mean("length_ratio/policy_vs_sft", lengths["policy"], lengths["sft"])
    for name, response in responses.items():
        mean(f"length/{name}", lengths[name])
        mean(f"eos_share/{name}", response.ended.double().numpy())
        for scorer in SCORERS:
            mean(f"{scorer}/{name}", scores[scorer][name])
    return rows


def _welfare(stage: Stage, responses: dict[str, Responses]) -> list[dict[str, Any]]:
    """What each head of the judge says of SFT and the policy, what the worst head says, and which of the policy's responses
    each rule would have chosen."""
    settings, decided, criteria = stage.params.evaluate, stage.params.stakeholders, stage.params.reward.criteria
    drawn: dict[str, Any] = {"level": settings.level, "resamples": settings.bootstrap, "seed": stage.seed}
    heads = _score(paths.JUDGE, {name: responses[name] for name in ("sft", "policy")}, heads_apart=True)
    rows = []
    for name, scores in heads.items():
        by_head = scores.reshape(len(scores), -1)
        each, worst = group_welfare(by_head, settings.samples_per_prompt, **drawn)
        rows += [_row(f"welfare/{name}/{c}", rate) for c, rate in zip(criteria, each, strict=True)]
        rows.append(_row(f"welfare_worst/{name}", worst))
    given = (list(criteria.values()), settings.samples_per_prompt, decided.rule, decided.quantile, settings.level)
    others = other_choices(by_head, *given) if min(criteria.values()) >= 0 and any(criteria.values()) else {}
    return rows + [_row(f"other_choice/policy_by_{rule}", rate) for rule, rate in others.items()]


def _spreads(stage: Stage, responses: dict[str, Responses]) -> list[dict[str, Any]]:
    """Mean σ of the judge's distributions of the responses of SFT and the policy: whether people differ more about the policy's."""
    settings = stage.params.evaluate
    drawn: dict[str, Any] = {"level": settings.level, "resamples": settings.bootstrap, "seed": stage.seed}
    heads = _score(paths.JUDGE, {name: responses[name] for name in ("sft", "policy")}, heads_apart=True)
    rows = []
    for name, scores in heads.items():
        sigma = spread(torch.from_numpy(scores[:, 1])).numpy()
        prompts = np.arange(len(sigma)) // settings.samples_per_prompt
        interval = bootstrap_mean(sigma, clusters=prompts, **drawn)
        rows.append(_row(f"spread/{name}", Rate(float(sigma.mean()), *interval, len(sigma))))
    return rows


def _by_group(stage: Stage, table: pl.DataFrame, judge: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """The policy's win rate against SFT for each group of prompts that is not too small: by turns, and by source where
    there are several."""
    settings = stage.params.evaluate
    several = table["prompt"].list.len() > 1
    groups = {"prompts of one turn": ~several, "prompts of several turns": several}
    if table["source"].n_unique() > 1:
        groups |= {f"source {s}": table["source"] == s for s in sorted(table["source"].unique().drop_nulls())}
    rows = []
    for name, members in groups.items():
        if members.sum() >= LEAST_PROMPTS:
            chosen = np.repeat(members.to_numpy(), settings.samples_per_prompt)
            both = (judge["policy"][chosen], judge["sft"][chosen])
            drawn: dict[str, Any] = {"level": settings.level, "resamples": settings.bootstrap, "seed": stage.seed}
            rate = win_rate(*both, settings.samples_per_prompt, **drawn)
            rows.append(_row("win_rate/policy_vs_sft", rate) | {"slice": name})
    return rows


def _row(name: str, rate: Rate) -> dict[str, Any]:
    return {"name": name, "value": rate.value, "low": rate.low, "high": rate.high, "n": rate.n, "slice": None}


def _agreement_with_people() -> dict[str, Any]:
    """On how many held-out pairs of people's the judge is right, as the stage `reward` measured it."""
    rows = json.loads(JUDGED.read_text(encoding="utf-8"))["metrics"]
    row: dict[str, Any] = next(r for r in rows if r["name"] == "accuracy/judge_test" and r["slice"] is None)
    return row


def _samples(
    stage: Stage, table: pl.DataFrame, responses: dict[str, Responses], judge: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    """A few prompts, evenly spread, with the first response of each model and the judge's score of it."""
    each = stage.params.evaluate.samples_per_prompt
    picked = np.unique(np.linspace(0, table.height - 1, min(SHOWN, table.height)).astype(int))
    return [
        {
            "id": table["id"][int(p)],
            "prompt": table["prompt"][int(p)].to_list(),
            "responses": {
                n: {"text": r.texts[p * each], "judge": float(judge[n][p * each])} for n, r in responses.items()
            },
        }
        for p in picked
    ]


def _reward_against_kl(path: Path, method: str) -> None:
    """Reward reached at each KL during the training: where the curve bends, optimisation stops paying."""
    history = [json.loads(line) for line in HISTORY.read_text(encoding="utf-8").splitlines()]
    history = [row for row in history if "objective/kl" in row]
    figure, (axis,) = canvas(1, f"{method.upper()}: reward against KL")
    kl, reward = ([row[k] for row in history] for k in ("objective/kl", "objective/scores"))
    axis.plot(kl, reward, color="0.7", linewidth=1)
    axis.scatter(kl, reward, c=range(len(history)), cmap="viridis", s=14)
    axis.set_xlabel("KL to SFT (nats per response)", fontsize=8)
    axis.set_ylabel("reward", fontsize=8)
    save(figure, path)


if __name__ == "__main__":
    run_stage("evaluate", body)
