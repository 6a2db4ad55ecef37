"""Distributions of utility where people differ and nobody says who they are, SIMULATED: python -m benchmarks.hidden_context
[--seeds 5 --first-seed 0] [--n 16]; one JSON line.

Prompts are contested or not, which their first token says; responses hold some of four tokens. Everybody likes C and D. On contested
prompts half of the people like A and dislike B, the other half the other way round; on the others all do as the former. One vote is
cast on each pair, by somebody of either half, with Bradley–Terry's noise. A reward model of mean and spread (tasks/rlhf/distributional.py)
learns from the votes and is not told who voted. "one mind": the same, but all are of the former half.

Reported of new prompts: the AUROC with which spreads tell contested prompts, and responses about which people differ (on contested
prompts, with one of A and B), from the others; r²; and of the best of n responses to each contested prompt, by the mean and by
quantiles of the distribution, what it is worth to people on average, and to the half to which it is worth less. Intervals are
Student's over the seeds, each of them new data, a new model and new responses. The trunk is tiny and random: this shows what the
loss does, and nothing about language models.
"""

import argparse
import json
import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.machine import described
from benchmarks.seeds import interval
from benchmarks.stakeholders import TRAINING, untrained
from tasks.evals.uncertainty import auroc
from tasks.rlhf.branches import answer_scores
from tasks.rlhf.distributional import HEADS, begin_alike, explained, normal_quantile, spread
from tasks.rlhf.reward_trainer import RankedRow, train_reward

CONTESTED, AGREED = 50, 51
A, B, C, D = 40, 60, 80, 90
WORTH = {A: 3.0, B: -3.0, C: 2.0, D: 2.0}
TRAINED, DEV, BATCH, PROMPTS, QUANTILES = 6000, 1000, 32, 100, (0.25, 0.1)
Figures = dict[str, float]


def response(draw: random.Random, prompt: int) -> list[int]:
    """Token ids of a prompt and a response."""
    body = [draw.randrange(100, 400) for _ in range(5)] + [token for token in WORTH if draw.random() < 0.5]
    draw.shuffle(body)
    return [prompt, *body, 1]


def utility(tokens: list[int], *, turned: bool) -> float:
    """What a response is worth, in log-odds, to either half of the people."""
    signs = {A: -1, B: -1} if turned and tokens[0] == CONTESTED else {}
    return sum(worth * signs.get(token, 1) for token, worth in WORTH.items() if token in tokens)


def votes(draw: random.Random, divided: bool) -> list[RankedRow]:
    """A pair of responses each, by somebody's vote."""
    rows = []
    for _ in range(TRAINED + DEV):
        prompt, turned = draw.choice((CONTESTED, AGREED)), divided and draw.random() < 0.5
        pair = [response(draw, prompt), response(draw, prompt)]
        gap = utility(pair[0], turned=turned) - utility(pair[1], turned=turned)
        better, worse = pair if draw.random() < 1 / (1 + np.exp(-gap)) else pair[::-1]
        rows.append(RankedRow.pair(better, worse))
    return rows


def heads_of(rows: list[RankedRow], asked: list[list[int]], seed: int) -> torch.Tensor:
    """μ and s (N, 2) of a model that was trained on the rows."""
    heads = list(HEADS.values())
    tokenizer, model = untrained(seed, len(heads))
    begin_alike(model)
    settings: Any = SimpleNamespace(**TRAINING | {"batch": BATCH})
    log = (seed, lambda *_: None, "simulated", None, heads)
    train_reward(model, tokenizer, rows[DEV:], rows[:DEV], settings, *log, distribution=True)
    return answer_scores(model, asked, None)


def of_seed(seed: int, n: int) -> Figures:
    """Every figure of a seed."""
    draw = random.Random(seed)
    asked = [response(draw, prompt) for prompt in (CONTESTED, AGREED) for _ in range(PROMPTS * n)]
    contested = np.arange(2 * PROMPTS) < PROMPTS
    differ = np.array([utility(t, turned=True) != utility(t, turned=False) for t in asked])
    found: Figures = {}
    for divided, name in ((True, "two groups"), (False, "one mind")):
        heads = heads_of(votes(draw, divided), asked, seed)
        variance = spread(heads[:, 1]).square().numpy()
        found[f"{name}/auroc of prompts"] = auroc(variance.reshape(-1, n).mean(1), contested)
        found[f"{name}/auroc of responses"] = auroc(variance, differ)
        found[f"{name}/r2"] = explained(heads)
        if divided:
            scores = {"mean": heads[:, 0]} | {f"quantile {q}": normal_quantile(heads, q) for q in QUANTILES}
            found |= {f"best of {n}/{k}": v for how, s in scores.items() for k, v in chosen(how, s, asked, n).items()}
    return found


def chosen(how: str, scores: torch.Tensor, asked: list[list[int]], n: int) -> Figures:
    """True utility of the best of n responses to each contested prompt, by these scores."""
    best = scores.reshape(-1, n).argmax(1)[:PROMPTS].tolist()
    taken = [asked[prompt * n + k] for prompt, k in enumerate(best)]
    worth = np.array([[utility(tokens, turned=turned) for turned in (False, True)] for tokens in taken])
    return {f"{how}/on average": float(worth.mean()), f"{how}/worse half": float(worth.min(1).mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="at least two")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=16)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    seeds = list(range(asked.first_seed, asked.first_seed + asked.seeds))
    found = [of_seed(seed, asked.n) for seed in seeds]
    figures = {name: interval([f[name] for f in found]) for name in found[0]}
    said = {"benchmark": "hidden_context", "simulated": True, "seeds": seeds, "n": asked.n}
    print(json.dumps(said | {"figures": figures, **described()}))


if __name__ == "__main__":
    main()
