"""`ppo`: the policy climbs the reward model's score of its own responses, less β · KL to SFT (tasks/rlhf/ppo.py)."""

from typing import Any

import polars as pl

from governance.digest import sha256_path
from governance.errors import BadInput, GateRefused
from tasks import paths
from tasks.checkpoints import Checkpoints
from tasks.methods.interface import Method
from tasks.policy_samples import sample_rows
from tasks.progress import bar
from tasks.rlhf.compiled import placed_for_work
from tasks.rlhf.encoding import encode_prompts, stop_token_id
from tasks.rlhf.ensembles import load_ensemble
from tasks.rlhf.models import load_causal_lm, load_value_model, with_lora
from tasks.rlhf.packing import CannotPack
from tasks.rlhf.ppo import Diverged, PpoTrainer
from tasks.rlhf.process_reward import load_process_model
from tasks.rlhf.scorers import ensemble, reward_scorer, step_scorer
from tasks.rlhf.sharding import plain, shard
from tasks.stage import Stage

PROMPTS = paths.PROCESSED / "ppo_prompts.parquet"
PANELS = {
    "reward": ["objective/scores", "objective/rlhf_reward"],
    "KL to SFT (nats per response)": ["objective/kl"],
    "length (tokens)": ["val/response_length"],
    "entropy (nats per token)": ["policy/entropy_avg"],
}


def train(stage: Stage, tokenizer: Any, checkpoints: Checkpoints) -> tuple[Any, list[Any], list[Any]]:
    """(policy, metrics of every update, samples of some)."""
    prompts = pl.read_parquet(stage.input_table(PROMPTS, "training"))["prompt"].to_list()
    trainer = trainer_of(stage, tokenizer)
    encoded = encode_prompts(tokenizer, prompts, stage.params.ppo.max_prompt_tokens)
    history, samples = _updates(stage, trainer, tokenizer, encoded, checkpoints)
    return plain(trainer.policy), history, samples


def _updates(
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


def trainer_of(stage: Stage, tokenizer: Any) -> PpoTrainer:
    """PPO's state at its first step, by the stage's settings."""
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


def _process_model(stage: Stage) -> dict[str, str]:
    """Digest of the process model, where its rewards are asked for."""
    return {"process_sha256": sha256_path(paths.PROCESS)} if stage.params.ppo.step_rewards else {}


METHOD = Method(PROMPTS, PANELS, train, _process_model)
