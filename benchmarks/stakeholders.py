"""Whom each rule of aggregation serves, on SIMULATED groups with known tastes: python -m benchmarks.stakeholders
[--seeds 5 --first-seed 0] [--n 16]; one JSON line.

Responses hold some of three tokens. The north likes A and dislikes B, the south the other way round, and both like C a
little. A reward model with a head for each group is trained on each group's own pairs, labelled by Bradley–Terry from its
true utility, so with the noise that people have. Of n random responses to each of 200 prompts each rule then chooses one, as
best-of-n does. Reported is the true utility of what was chosen, by group, which no model saw; intervals are Student's over
the seeds, each of them new data, a new model and new responses. The trunk is tiny and random: this shows what the rules
do, and nothing about language models.
"""

import argparse
import json
import random
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.machine import described
from benchmarks.seeds import interval

ROOT = Path(__file__).resolve().parents[1]
A, B, C = 40, 60, 80
TASTES = {"north": {A: 2.0, B: -2.0, C: 1.0}, "south": {A: -2.0, B: 2.0, C: 1.0}}
WEIGHTS = {"north": 0.8, "south": 0.2}
TRAINED, PROMPTS, SHARE = 600, 200, 0.25
TRAINING: dict[str, Any] = {
    "epochs": 4, "batch": 16, "learning_rate": 0.005, "max_length": 32, "bf16": False, "save_steps": 1000,
    "save_total_limit": 1, "loss": "bradley_terry", "label_smoothing": 0.0,
}  # fmt: skip


def response(draw: random.Random) -> list[int]:
    """Token ids of a prompt and a response."""
    body = [draw.randrange(100, 400) for _ in range(5)] + [token for token in (A, B, C) if draw.random() < 0.5]
    draw.shuffle(body)
    return [50, *body, 1]


def utility(group: str, tokens: list[int]) -> float:
    """What a response is worth to a group, in log-odds."""
    return sum(TASTES[group].get(token, 0.0) for token in tokens)


def untrained(seed: int, heads: int) -> tuple[Any, Any]:
    """(tokenizer, reward model of so many heads on a tiny random trunk)."""
    import torch

    from tasks.rlhf.models import load_tokenizer, new_reward_model
    from tasks.rlhf.pretrain import PretrainConfig, build_model

    tokenizer = load_tokenizer(ROOT / "data/raw/attestrl-small")
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    config = PretrainConfig(
        vocab_size=len(tokenizer), hidden_size=32, layers=2, heads=2, kv_heads=1, intermediate_size=64
    )
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as name:
        build_model(config, pad, end).save_pretrained(name)
        return tokenizer, new_reward_model(Path(name), pad, seed, heads=heads)


def chosen_by_rule(seed: int, n: int) -> dict[str, dict[str, float]]:
    """Mean true utility of the responses that each rule chose, by group."""
    import numpy as np
    import torch

    from tasks.rlhf.branches import answer_scores
    from tasks.rlhf.reward_trainer import RankedRow, train_reward
    from tasks.rlhf.welfare import rules

    draw = random.Random(seed)
    rows = []
    for head, group in enumerate(TASTES):
        for _ in range(TRAINED):
            pair = [response(draw), response(draw)]
            gap = utility(group, pair[0]) - utility(group, pair[1])
            first = draw.random() < 1 / (1 + np.exp(-gap))
            rows.append(RankedRow(pair if first else pair[::-1], [1.0], [0.0], head))
    draw.shuffle(rows)
    tokenizer, model = untrained(seed, len(TASTES))
    settings: Any = SimpleNamespace(**TRAINING)
    weights = list(WEIGHTS.values())
    train_reward(
        model,
        tokenizer,
        rows[100:],
        rows[:100],
        settings,
        seed,
        lambda *_: None,
        "simulated",
        None,
        weights,
    )
    candidates = [[response(draw) for _ in range(n)] for _ in range(PROMPTS)]
    scores = answer_scores(model, [t for some in candidates for t in some], None).double()
    scores = scores - scores.mean(0)  # a head's zero is an average response, as the stage's is an average demonstration
    found: dict[str, dict[str, float]] = {}
    for rule, combine in rules(SHARE).items():
        picked = combine(scores, torch.tensor(weights, dtype=scores.dtype)).reshape(PROMPTS, n).argmax(1).tolist()
        taken = [some[k] for some, k in zip(candidates, picked, strict=True)]
        by_group = {group: float(np.mean([utility(group, tokens) for tokens in taken])) for group in TASTES}
        everybody = sum(WEIGHTS[group] * value for group, value in by_group.items())
        found[rule] = by_group | {"worst": min(by_group.values()), "everybody": everybody}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="at least two")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=16)
    asked = parser.parse_args()
    seeds = list(range(asked.first_seed, asked.first_seed + asked.seeds))
    found = [chosen_by_rule(seed, asked.n) for seed in seeds]
    figures = {rule: {name: interval([f[rule][name] for f in found]) for name in found[0][rule]} for rule in found[0]}
    print(
        json.dumps(
            {
                "benchmark": "stakeholders",
                "simulated": True,
                "seeds": seeds,
                "n": asked.n,
                "figures": figures,
                **described(),
            }
        )
    )


if __name__ == "__main__":
    main()
