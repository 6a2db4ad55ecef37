"""Speed of PPO on a workload folder, through the trainer that the stage `ppo` uses. Prints one JSON line.

usage: python benchmarks/ppo.py WORKLOAD [--updates N] [--value separate|shared] [--dtype float32|bfloat16] [--seed N]
                                [--sharding none|fsdp2]

A workload holds `policy/` and `reward/` (model folders), `prompts.jsonl` (one {"input_ids": […]} a line) and
`workload.json` (hyper-parameters). One update more than asked for is run first, as warm-up, and not counted. Several
processes share the rows, and the weights if sharding says so: `torchrun --nproc-per-node=2 benchmarks/ppo.py WORKLOAD`;
memory is then that of the first.
"""

import argparse
import json
import resource
import time
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from machine import described

from tasks.rlhf import ppo
from tasks.rlhf.compiled import placed_for_work
from tasks.rlhf.models import load_causal_lm, load_reward_model
from tasks.rlhf.ppo_settings import PlainPpo
from tasks.rlhf.processes import accelerate_state
from tasks.rlhf.scorers import reward_scorer
from tasks.rlhf.sharding import shard


def settings(w: dict[str, Any], value: Literal["separate", "shared"], dtype: str) -> PlainPpo:
    """The workload's hyper-parameters under the names of params.yaml; the learning rate stays all but constant."""
    return PlainPpo(
        episodes=w["batch_size"] * 1_000_000,
        batch=w["batch_size"],
        minibatch=w["minibatch_size"],
        epochs=w["ppo_epochs"],
        learning_rate=w["learning_rate"],
        value=value,
        value_coef=w["vf_coef"],
        kl_coef=w["kl_coef"],
        gamma=w["gamma"],
        lam=w["lam"],
        clip_range=w["cliprange"],
        clip_range_value=w["cliprange_value"],
        max_grad_norm=w["max_grad_norm"],
        temperature=w["temperature"],
        max_new_tokens=w["response_length"],
        whiten_rewards=w["whiten_rewards"],
        bf16=dtype == "bfloat16",
    )


def clocked(owner: Any, name: str, clock: dict[str, float]) -> None:
    """Add the seconds spent in `owner.name` to `clock[name]`."""
    function = getattr(owner, name)

    def timed(*args: Any, **options: Any) -> Any:
        started = time.perf_counter()
        result = function(*args, **options)
        clock[name] = clock.get(name, 0.0) + time.perf_counter() - started
        return result

    setattr(owner, name, timed)


def training_flops(trainer: ppo.PpoTrainer, epochs: int) -> float:
    """Operations of the matrix products of an update, forward and backward, on the batch that the trainer saw last: 6 for
    each weight and token that it works on, and 6 · width for each pair of tokens that meet in a layer's attention."""
    config, rollout = trainer.policy.config, trainer.experience.rollout
    lengths = torch.tensor(rollout.lengths, dtype=torch.float64)
    weights = sum(p.numel() for p in trainer.policy.base_model.layers.parameters() if p.dim() > 1)
    heads = trainer.policy.get_output_embeddings().weight.numel()
    attention = config.num_hidden_layers * config.hidden_size * float((lengths**2).sum())
    trunks = 1 if trainer.value_model is None else 2
    return 6.0 * epochs * (trunks * (weights * float(lengths.sum()) + attention) + heads * float(rollout.mask.sum()))


def matmul_flops(size: int = 8192, times: int = 20) -> float:
    """Operations a second of bf16 matrix products on the device."""
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for rounds in (3, times):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(rounds):
            torch.mm(a, b)
        torch.cuda.synchronize()
    return 2.0 * size**3 * times / (time.perf_counter() - started)


def of_gpu(trainer: ppo.PpoTrainer, epochs: int, train_s: float) -> dict[str, float]:
    """What the training part reaches of the device's own rate, and the memory it took."""
    done, rate = training_flops(trainer, epochs) / train_s, matmul_flops()
    return {
        "train_tflops_per_s": round(done / 1e12, 1),
        "matmul_tflops_per_s": round(rate / 1e12, 1),
        "train_share_of_matmul": round(done / rate, 3),
        "peak_gpu_mb": torch.cuda.max_memory_allocated() >> 20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", type=Path)
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--value", choices=["separate", "shared"], default="separate")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"])
    parser.add_argument("--seed", type=int)
    parser.add_argument("--sharding", choices=["none", "fsdp2"], default="none")
    a = parser.parse_args()
    accelerate_state()  # meets the other processes, before a model is loaded
    w = json.loads((a.workload / "workload.json").read_text(encoding="utf-8"))
    dtype = a.dtype or w["dtype"]
    with (a.workload / "prompts.jsonl").open(encoding="utf-8") as lines:
        prompts = [json.loads(line)["input_ids"] for line in lines]
    sharding = partial(shard, gradients="sum") if a.sharding == "fsdp2" else lambda model: model
    reward_model = sharding(load_reward_model(a.workload / "reward"))
    trainer = ppo.PpoTrainer(
        sharding(load_causal_lm(a.workload / "policy")),
        sharding(load_causal_lm(a.workload / "policy")),
        sharding(load_reward_model(a.workload / "reward")) if a.value == "separate" else None,
        reward_scorer(reward_model),
        settings(w, a.value, dtype),
        pad_token_id=w["pad"],
        stop_token_id=w["eos"],
        seed=w["seed"] if a.seed is None else a.seed,
    )
    placed_for_work(reward_model, trainer.device)
    clock: dict[str, float] = {}
    clocked(ppo, "sample", clock)
    clocked(trainer, "update", clock)
    training = trainer.train(prompts)
    first = next(training)
    clock.clear()
    wall, cpu = time.perf_counter(), time.process_time()
    seen = [next(training) for _ in range(a.updates)]
    seconds, cpu = time.perf_counter() - wall, time.process_time() - cpu
    lengths = [m["val/response_length"] for m in seen]
    n, episodes = a.updates, w["batch_size"] * a.updates
    on = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu x{torch.get_num_threads()}"
    figures = {
        "system": f"attestrl-{a.value}" + ("-bf16" if dtype == "bfloat16" else ""),
        "kind": w["kind"],
        "episodes_per_s": round(episodes / seconds, 3),
        "seconds_per_update": round(seconds / n, 3),
        "response_tokens_per_s": round(sum(lengths) * w["batch_size"] / seconds, 1),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "gen_s": round(clock["sample"] / n, 3),
        "train_s": round(clock["update"] / n, 3),
        "cpu_s_per_update": round(cpu / n, 3),
        "mean_response": round(sum(lengths) / n, 1),
        "mean_response_by_update": [round(x, 1) for x in lengths],
        "updates": n,
        "optimizer_steps": w["ppo_epochs"] * w["batch_size"] // w["minibatch_size"],
        "first_ratio_error": float(f"{abs(first['val/first_ratio'] - 1):.2e}"),
        "kl": round(seen[-1]["objective/kl"], 4),
        **(of_gpu(trainer, w["ppo_epochs"], clock["update"] / n) if trainer.device.type == "cuda" else {}),
        **described(),
        "device": on,
        "processes": trainer.shared.count,
        "sharding": a.sharding,
    }
    if trainer.shared.index == 0:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
