"""What a PPO update costs as the model and the batch grow, and when padding is doubled at the same tokens.

usage: python -m benchmarks.ppo_growth [--rounds N] [--value separate|shared] [--seed N]

Models of random weights, made on the spot (vocabulary 4096); prompts of random tokens, 48 on average; responses of 48, as
no answer ends. 2 epochs, minibatches of 16, fp32, on the product's own code path. Prints one JSON line.

`points`: (hidden size, layers) and batch, each in a process of its own: processor seconds an update (median, least and most
of N after one that is not counted) and peak memory. `padding`: updates on prompts of 32 to 64 tokens and of 16 to 80, whose
padding to the longest row is twice as much at the same tokens, in 3 N turns in one process: the ratio of each turn's processor
seconds (median, least and most).
"""

import argparse
import json
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import described
from tasks.rlhf.models import load_causal_lm, new_reward_model
from tasks.rlhf.ppo import PpoTrainer
from tasks.rlhf.ppo_settings import PlainPpo
from tasks.rlhf.pretrain import PretrainConfig, build_model
from tasks.rlhf.scorers import reward_scorer

SIZES = ((128, 2), (192, 3), (256, 4))
BATCHES = (16, 32, 64)
PLAIN, PADDED = (32, 64), (16, 80)  # shortest and longest prompt; both 48 on average
TOKENS = 48


def prompts(batch: int, shortest: int, longest: int, seed: int) -> list[list[int]]:
    """Random tokens, lengths evenly spread."""
    rng = random.Random(seed)
    lengths = [round(shortest + (longest - shortest) * i / (batch - 1)) for i in range(batch)]
    return [[rng.randrange(5, 4096) for _ in range(n)] for n in lengths]


def trainer(hidden: int, layers: int, batch: int, value: Any, seed: int) -> tuple[PpoTrainer, int]:
    """(a training, parameters of its policy)."""
    torch.manual_seed(seed)
    config = PretrainConfig(hidden_size=hidden, layers=layers, intermediate_size=3 * hidden)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_model(config, 0, 1).save_pretrained(folder)
        policy, reference = load_causal_lm(folder), load_causal_lm(folder)
        reward = new_reward_model(folder, 0, seed)
        critic = new_reward_model(folder, 0, seed) if value == "separate" else None
    settings = PlainPpo(
        episodes=batch * 1_000_000,
        batch=batch,
        minibatch=16,
        epochs=2,
        learning_rate=1e-5,
        kl_coef=0.05,
        max_new_tokens=TOKENS,
        value=value,
    )
    made = PpoTrainer(
        policy, reference, critic, reward_scorer(reward), settings, pad_token_id=0, stop_token_id=-1, seed=seed
    )
    reward.to(made.device).eval()
    return made, sum(p.numel() for p in policy.parameters())


def cost(update: Callable[[], object]) -> float:
    """Processor seconds."""
    started = time.process_time()
    update()
    return time.process_time() - started


def point(size: tuple[int, int], batch: int, value: str, rounds: int, seed: int) -> dict[str, Any]:
    """Cost of an update, in this process."""
    made, parameters = trainer(*size, batch, value, seed)
    training = made.train(prompts(batch, *PLAIN, seed))
    next(training)
    seconds = [cost(lambda: next(training)) for _ in range(rounds)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"parameters": parameters, "batch": batch, "cpu_s": spread(seconds), "peak_mb": round(peak)}


def padding(value: str, rounds: int, seed: int) -> dict[str, Any]:
    """Cost with twice the padding, over that without."""
    made, _ = trainer(*SIZES[0], 32, value, seed)
    sides = [prompts(32, *lengths, seed) for lengths in (PLAIN, PADDED)]
    assert sum(map(len, sides[0])) == sum(map(len, sides[1]))
    each: list[list[float]] = [[], []]
    for turn in range(3 * rounds + 1):  # the first is not counted
        for side, rows in zip(each, sides, strict=True):
            seconds = cost(lambda rows=rows: made.update(made.collect(rows)))  # type: ignore[misc]
            if turn:
                side.append(seconds)
    ratios = [padded / plain for plain, padded in zip(*each, strict=True)]
    return {"cpu_s": spread(each[0]), "padded_cpu_s": spread(each[1]), "ratio": spread(ratios, 3)}


def spread(values: Sequence[float], digits: int = 2) -> list[float]:
    """[median, least, most]."""
    return [round(x, digits) for x in (statistics.median(values), min(values), max(values))]


def alone(measure: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """`measure` in a process of its own, whose peak of memory is nobody else's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--value", choices=["separate", "shared"], default="separate")
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    given = (a.value, a.rounds, a.seed)
    pairs = [(size, 32) for size in SIZES] + [(SIZES[0], batch) for batch in BATCHES if batch != 32]
    points = [alone(point, size, batch, *given) for size, batch in pairs]
    figures = {"benchmark": "ppo_growth", "value": a.value, "seed": a.seed, "points": points}
    print(json.dumps(figures | {"padding": alone(padding, *given)} | described()))


if __name__ == "__main__":
    main()
