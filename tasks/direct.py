"""The policy straight from preference pairs: what the methods `dpo`, `ipo` and `kto` share.

The pairs are those that the reward model learns from, after quarantine and with the annotators' weights. The reward model
only watches, on the prompts that PPO would sample from, which no pair has.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import polars as pl

from governance.digest import sha256_path
from governance.errors import BadInput, GateRefused
from tasks import paths
from tasks.checkpoints import Checkpoints
from tasks.methods.interface import Method, Trained
from tasks.policy_samples import sample_rows
from tasks.rlhf.direct_trainer import Kind, Pair, train_direct
from tasks.rlhf.encoding import encode_preferences, encode_prompts, stop_token_id
from tasks.rlhf.ensembles import load_ensemble
from tasks.rlhf.models import load_causal_lm, with_lora
from tasks.rlhf.policy_watch import watched
from tasks.rlhf.ppo import Diverged
from tasks.rlhf.precision import Bf16
from tasks.rlhf.scorers import ensemble, reward_scorer
from tasks.rlhf.sft_trainer import curves_into
from tasks.soft_pairs import in_use, with_soft_pairs
from tasks.splits import position, split_key
from tasks.stage import Stage
from tasks.trainings import resume_of

PAIRS = paths.PROCESSED / "reward_train.parquet"
PROMPTS = paths.PROCESSED / "ppo_prompts.parquet"
DEV_SHARE = 0.1
WATCHED = 128  # prompts at most
PANELS = {
    "loss": ["loss", "eval_loss"],
    "margin and accuracy on the pairs": ["rewards/margins", "rewards/accuracies"],
    "reward": ["objective/scores"],
    "KL to SFT (nats per response)": ["objective/kl"],
    "length (tokens)": ["val/response_length"],
}


def on_pairs(kind: Callable[[], Kind]) -> Method:
    """The method that learns from the reward model's pairs by one of TRL's trainers, which is loaded when it trains."""
    return Method(PAIRS, PANELS, partial(train_on_pairs, kind), _soft_pairs)


def _soft_pairs(stage: Stage) -> dict[str, str]:
    """Digests of the pairs that models prefer; PPO has them through the reward model."""
    return {f"{p.stem}_sha256": sha256_path(stage.input_table(p, "training")) for p in in_use(stage.params)}


def train_on_pairs(kind: Callable[[], Kind], stage: Stage, tokenizer: Any, checkpoints: Checkpoints) -> Trained:
    """(policy, metrics of logged steps, samples); from the newest checkpoint, or from the start."""
    method = stage.params.method
    settings: Any = getattr(stage.params, method)
    train, dev = split_pairs(stage, tokenizer, settings.max_length)
    stage.input_table(PROMPTS, "watched")
    lora = stage.params.lora
    policy, reference = load_causal_lm(paths.SFT), None if lora.enabled else load_causal_lm(paths.SFT).eval()
    if lora.enabled:
        policy = with_lora(policy, lora, "CAUSAL_LM", stage.seed)
    history: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    resume = resume_of(stage, checkpoints, method, settings.save_steps)
    if resume.found and resume.found.state["samples"]:
        stage.log_table(resume.found.state["samples"], "samples")
    watch = _watch(stage, policy, reference, tokenizer, settings.bf16, samples)
    try:
        train_direct(
            method,
            kind(),
            policy,
            reference,
            tokenizer,
            train,
            dev,
            settings,
            stage.seed,
            curves_into(history),
            watch,
            samples,
            resume,
        )
    except Diverged as error:
        raise GateRefused(
            f"{error}; lower {method}.learning_rate or set {method}.bf16=false. Earlier checkpoints stay in "
            f"{checkpoints.folder}."
        ) from None
    return policy, history, samples


def split_pairs(stage: Stage, tokenizer: Any, max_length: int) -> tuple[list[Pair], list[Pair]]:
    """(training, dev) pairs; dev by the prompt's hash, so that no prompt is on both. Raises BadInput if they are too few."""
    frame = pl.read_parquet(stage.input_table(PAIRS, "training"))
    if frame.height < 2:
        raise BadInput(f"{PAIRS}: has {frame.height} valid pairs; {stage.params.method} needs at least two.")
    frame = with_soft_pairs(frame, map(pl.read_parquet, in_use(stage.params)))
    prompts = frame["prompt"].to_list()
    stop = stop_token_id(tokenizer)
    encoded = encode_preferences(
        tokenizer, prompts, frame["chosen"].to_list(), frame["rejected"].to_list(), stop, max_length
    )
    pairs = [Pair(*ids, float(weight)) for ids, weight in zip(encoded, frame["weight"], strict=True)]
    is_dev = [position("dev:" + split_key(p)) < DEV_SHARE for p in prompts]
    train = [p for p, dev in zip(pairs, is_dev, strict=True) if not dev]
    dev = [p for p, dev in zip(pairs, is_dev, strict=True) if dev]
    return (train, dev) if train and dev else (pairs[1:], pairs[:1])


def _watch(stage: Stage, policy: Any, reference: Any, tokenizer: Any, bf16: Bf16, samples: list[dict[str, Any]]) -> Any:
    """What `train_direct` calls: metrics of the policy on the watched prompts; a few responses go to `samples`."""
    settings = stage.params.ppo
    table = pl.read_parquet(PROMPTS)["prompt"].head(WATCHED).to_list()
    prompts = encode_prompts(tokenizer, table, settings.max_prompt_tokens)
    reward = load_ensemble(paths.REWARD)
    scorer = ensemble([reward_scorer(m.eval()) for m in reward.members], reward.combine)

    def watch(step: int) -> dict[str, float]:
        metrics, rollout, scores, kl = watched(
            policy,
            reference,
            scorer,
            prompts,
            settings,
            pad_token_id=tokenizer.pad_token_id,
            stop_token_id=stop_token_id(tokenizer),
            seed=stage.seed,
            bf16=bf16,
        )
        shown = sample_rows(step, rollout, scores, kl, tokenizer)
        stage.log_table(shown, "samples")
        samples.extend(shown)
        return metrics

    return watch
