"""Stage `ppo`: the policy, from the SFT model, against the reward model, or by the `method` that is named instead."""

from pathlib import Path
from typing import Any

import polars as pl

from governance.digest import sha256_path, write_json, write_jsonl
from governance.errors import BadInput, GateRefused
from tasks import paths
from tasks.checkpoints import Checkpoints, checkpoints_of
from tasks.lineage import lineage_of, read_record
from tasks.plots import save_curves
from tasks.policy_samples import sample_rows
from tasks.progress import bar
from tasks.rlhf.compiled import placed_for_work
from tasks.rlhf.encoding import encode_prompts, stop_token_id
from tasks.rlhf.ensembles import load_ensemble
from tasks.rlhf.models import load_causal_lm, load_tokenizer, load_value_model, merged, save_model, with_lora
from tasks.rlhf.packing import CannotPack
from tasks.rlhf.ppo import Diverged, PpoTrainer
from tasks.rlhf.process_reward import load_process_model
from tasks.rlhf.scorers import ensemble, reward_scorer, step_scorer
from tasks.rlhf.sharding import plain, shard
from tasks.soft_pairs import in_use
from tasks.stage import Stage, run_stage

PROMPTS = paths.PROCESSED / "ppo_prompts.parquet"
PANELS = {
    "reward": ["objective/scores", "objective/rlhf_reward"],
    "KL to SFT (nats per response)": ["objective/kl"],
    "length (tokens)": ["val/response_length"],
    "entropy (nats per token)": ["policy/entropy_avg"],
}


def body(stage: Stage) -> None:
    """Write `data/models/policy`."""
    method = stage.notes["method"] = stage.params.method
    if method == "ppo":
        train, table, panels = _train_by_ppo, PROMPTS, PANELS
    else:
        from tasks import direct  # TRL's trainers take seconds to import, and PPO needs none

        train, table, panels = direct.train_on_pairs, direct.PAIRS, direct.PANELS
    stage.input_model(paths.SFT)
    stage.input_model(paths.REWARD)
    lineage = _lineage(table)
    for pairs in in_use(stage.params) if method != "ppo" else ():  # PPO has them through the reward model
        lineage[f"{pairs.stem}_sha256"] = sha256_path(stage.input_table(pairs, "training"))
    if method == "ppo" and stage.params.ppo.step_rewards:
        lineage["process_sha256"] = sha256_path(paths.PROCESS)
    tokenizer = load_tokenizer(paths.SFT)
    checkpoints = checkpoints_of(stage, lineage)
    policy, history, samples = train(stage, tokenizer, checkpoints)
    if stage.follows:
        return
    save_model(merged(policy), tokenizer, paths.POLICY)
    write_json(paths.POLICY / "lineage.json", lineage)
    tags = {**lineage, "method": method, "reward_model_version": _reward_version()}
    stage.output_model(paths.POLICY, tags, register_as=f"{stage.params.project}-policy")
    write_jsonl(stage.report / "history.jsonl", history)
    write_jsonl(stage.report / "samples.jsonl", samples)
    save_curves(history, panels, stage.report / "curves.png", method.upper(), x="step")
    stage.log_artifact(stage.report / "curves.png")
    stage.log_history(history, paths.POLICY, table)
    last = {k: v for row in history for k, v in row.items() if k not in ("step", "epoch")}
    stage.log_metrics(last, step=history[-1]["step"], model=paths.POLICY, table=table)
    checkpoints.remove()


def _train_by_ppo(stage: Stage, tokenizer: Any, checkpoints: Checkpoints) -> tuple[Any, list[Any], list[Any]]:
    """(policy, metrics of every update, samples of some)."""
    prompts = pl.read_parquet(stage.input_table(PROMPTS, "training"))["prompt"].to_list()
    trainer = _trainer(stage, tokenizer)
    encoded = encode_prompts(tokenizer, prompts, stage.params.ppo.max_prompt_tokens)
    history, samples = _train(stage, trainer, tokenizer, encoded, checkpoints)
    return plain(trainer.policy), history, samples


def _train(
    stage: Stage, trainer: PpoTrainer, tokenizer: Any, prompts: list[list[int]], checkpoints: Checkpoints
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Train from the newest checkpoint, or from the start; gives (metrics of every update, samples of some)."""
    history: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    if found := checkpoints.latest():
        trainer.restore(found.tensors, found.state["trainer"])
        history, samples = list(found.state["history"]), list(found.state["samples"])
        if samples:
            stage.log_table(samples, "samples")
        stage.notes["resumed_from_step"] = {"ppo": found.step}
    try:
        with bar(trainer.updates, "ppo", "update", done=trainer.step) as progress:
            for metrics in trainer.train(prompts):
                history.append({"step": trainer.step, **metrics})
                progress.set_postfix_str(f"score {metrics['objective/scores']:.2f} kl {metrics['objective/kl']:.2f}")
                progress.update()
                saved = trainer.step % stage.params.ppo.save_steps == 0
                if saved or trainer.step == 1:  # the first update's responses are still SFT's
                    assert trainer.experience is not None
                    seen = trainer.experience
                    drawn = sample_rows(trainer.step, seen.rollout, seen.scores, seen.kl.sum(1), tokenizer)
                    stage.log_table(drawn, "samples")
                    samples += drawn
                if saved:
                    tensors, state = trainer.state()
                    content = {"trainer": state, "history": history, "samples": samples}
                    checkpoints.save(trainer.step, tensors, content)
    except Diverged as error:
        raise GateRefused(
            f"{error} at update {trainer.step + 1}; lower ppo.learning_rate, raise ppo.kl_coef, or set ppo.bf16=false. "
            f"Earlier checkpoints stay in {checkpoints.folder}."
        ) from None
    except CannotPack as error:
        raise BadInput(f"{paths.SFT}: {error}; choose another base.model.") from None
    return history, samples


def _trainer(stage: Stage, tokenizer: Any) -> PpoTrainer:
    lora = stage.params.lora
    policy, reference = load_causal_lm(paths.SFT), None if lora.enabled else load_causal_lm(paths.SFT)
    value_model = load_value_model(paths.REWARD) if stage.params.ppo.value == "separate" else None
    if lora.enabled:
        policy = with_lora(policy, lora, "CAUSAL_LM", stage.seed)
        value_model = with_lora(value_model, lora, "SEQ_CLS", stage.seed) if value_model is not None else None
    reward = load_ensemble(paths.REWARD)
    if stage.params.sharding == "fsdp2":
        for model in filter(None, (policy, reference, value_model, *reward.members)):
            shard(model, gradients="sum")
    process = load_process_model(paths.PROCESS) if stage.params.ppo.step_rewards else None
    if process is not None and stage.params.sharding == "fsdp2":
        shard(process, gradients="sum")
    trainer = PpoTrainer(
        policy,
        reference,
        value_model,
        ensemble([reward_scorer(m) for m in reward.members], reward.combine),
        stage.params.ppo,
        pad_token_id=tokenizer.pad_token_id,
        stop_token_id=stop_token_id(tokenizer),
        seed=stage.seed,
        step_scorer=step_scorer(process, tokenizer) if process is not None else None,
    )
    for member in (*reward.members, *filter(None, [process])):
        placed_for_work(member, trainer.device)
    return trainer


def _lineage(table: Path) -> dict[str, str]:
    """Digests of everything the policy comes from, the pairs or prompts in `table` among it. Raises GateRefused if the reward model has another base."""
    sft, reward = lineage_of(paths.SFT), lineage_of(paths.REWARD)
    if sft["base_sha256"] != reward["base_sha256"]:
        raise GateRefused(
            "data/models/reward was trained on another base than data/models/sft; a reward model does not carry over "
            "to a new base: run again from reward."
        )
    return sft | reward | {"data_sha256": sha256_path(table)}


def _reward_version() -> str:
    """Registered version of the reward model, from the record of the stage that made it."""
    return str(read_record("reward").get("notes", {}).get("registered", {}).get("version", "unregistered"))


if __name__ == "__main__":
    run_stage("ppo", body)
