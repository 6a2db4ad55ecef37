"""Labels that a reward model needs when its pairs are chosen and when they are drawn: python -m benchmarks.rounds [--seeds 5
--first-seed 0] [--real]; one JSON line.

The pool is the shipped HH-RLHF pairs. Each response is the shipped model's hidden state at its last token; reward models
are linear in it: eight Bradley–Terry heads on bootstrap samples of the labels so far, as an ensemble. Labels are SIMULATED:
a taste, a direction drawn by the seed, prefers by Bradley–Terry, so with the noise that people have; with --real they are
HH-RLHF's own. From 32 labels at random on, 32 more are asked for at a time, by each rule of `tasks/rlhf/acquisition.py` and
at random. Reported are the labels after which accuracy on a fourth of the pairs, held out, first reaches what random
choice reaches with all BUDGET labels (its mean over the seeds, less a hundredth), and their ratio to random choice's, by
seed, with Student's interval. It rests on frozen features and a pool of real pairs: sampled answers of a policy would
give more to choose from.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import described
from benchmarks.seeds import interval
from tasks.rlhf.acquisition import RULES

ROOT = Path(__file__).resolve().parents[1]
MEMBERS, STEP, BUDGET, HELD_OUT = 8, 32, 1024, 4
CLEAR = 2.0  # standard deviation of the simulated taste's log odds over the pairs
PENALTY = 1.0  # L2, of heads on features of unit variance


def features() -> np.ndarray:
    """(pairs, dimensions) difference of the hidden states of chosen and rejected, each dimension of unit variance."""
    from tasks.rlhf.encoding import encode_pairs, stop_token_id
    from tasks.rlhf.models import load_causal_lm, load_tokenizer, pad_right

    folder = ROOT / "data/raw/attestrl-small"
    tokenizer, model = load_tokenizer(folder), load_causal_lm(folder).eval()
    lines = (ROOT / "data/raw/hh_rlhf/pairs.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    prompts = [row["prompt"] for row in rows for _ in range(2)]
    answers = [row[name] for row in rows for name in ("chosen", "rejected")]
    encoded = [p + a for p, a in encode_pairs(tokenizer, prompts, answers, stop_token_id(tokenizer), 256)]
    states = np.empty((len(encoded), model.config.hidden_size))
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
    with torch.no_grad():
        for at in range(0, len(order), 64):
            chunk = order[at : at + 64]
            ids, mask = pad_right([encoded[i] for i in chunk], tokenizer.pad_token_id)
            hidden = model.model(input_ids=ids, attention_mask=mask).last_hidden_state
            states[chunk] = hidden[torch.arange(len(chunk)), mask.sum(1) - 1].numpy()
    states = (states - states.mean(0)) / states.std(0)
    return states[0::2] - states[1::2]


def heads(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(MEMBERS, dimensions) Bradley–Terry heads on bootstrap samples of pairs x and labels y (1: the first is better)."""
    from sklearn.linear_model import LogisticRegression

    found = []
    for _ in range(MEMBERS):
        weight = np.bincount(rng.integers(len(x), size=len(x)), minlength=len(x))
        both, label = np.concatenate([x, -x]), np.concatenate([y, 1 - y])  # no side is the first
        model = LogisticRegression(C=1 / PENALTY, fit_intercept=False, max_iter=200)
        found.append(model.fit(both, label, np.tile(weight, 2)).coef_[0])
    return np.stack(found)


def learned(x: np.ndarray, y: np.ndarray, truth: np.ndarray, seed: int, rule: str) -> list[float]:
    """Accuracy on the held-out pairs after each step; `truth`: the label without noise, where it is known."""
    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(len(x))
    test, pool = order[: len(x) // HELD_OUT], order[len(x) // HELD_OUT :]
    asked, left, curve = pool[:STEP], pool[STEP:], []
    while True:
        w = heads(x[asked], y[asked], rng)
        curve.append(float((((x[test] @ w.mean(0)) > 0) == truth[test]).mean()))
        if len(asked) >= BUDGET:
            return curve
        if rule == "random":
            chosen = np.arange(STEP)
        else:
            difference = torch.tensor(x[left] @ w.T)  # (pairs, members)
            scores = torch.stack([difference, torch.zeros_like(difference)], dim=-1)  # (pairs, members, 2 answers)
            value = torch.stack([RULES[rule](s)[0, 1] for s in scores]).numpy()
            chosen = np.argsort(-value, kind="stable")[:STEP]
        asked, left = np.concatenate([asked, left[chosen]]), np.delete(left, chosen)


def curves(x: np.ndarray, seed: int, *, real: bool) -> dict[str, list[float]]:
    """Accuracy by rule, with one taste and the same first labels for all rules."""
    rng = np.random.default_rng([seed, 0])
    flip = rng.random(len(x)) < 0.5  # the stored order would tell the label
    x = np.where(flip[:, None], -x, x)
    if real:
        y = (~flip).astype(int)
        truth = ~flip
    else:
        odds = x @ rng.normal(size=x.shape[1])
        odds *= CLEAR / odds.std()
        y = (rng.random(len(x)) < 1 / (1 + np.exp(-odds))).astype(int)
        truth = odds > 0
    return {rule: learned(x, y, truth, seed, rule) for rule in ("random", *RULES)}


def needed(curve: list[float], wanted: float) -> int:
    """Labels after which the wanted accuracy is first reached; BUDGET if it never is."""
    return next((STEP * (k + 1) for k, accuracy in enumerate(curve) if accuracy >= wanted), BUDGET)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--real", action="store_true")
    given = parser.parse_args()
    x = features()
    runs = [curves(x, given.first_seed + k, real=given.real) for k in range(given.seeds)]
    wanted = float(np.mean([run["random"][-1] for run in runs])) - 0.01
    labels = {rule: [needed(run[rule], wanted) for run in runs] for rule in runs[0]}
    result: dict[str, Any] = {
        "benchmark": "rounds", "simulated": not given.real, "seeds": given.seeds, "first_seed": given.first_seed,
        "pairs": len(x), "accuracy_wanted": round(wanted, 4), "labels": labels,
        "ratio_to_random": {r: interval([a / b for a, b in zip(labels[r], labels["random"], strict=True)])
                            for r in RULES},
        "accuracy": {rule: {str(STEP * (k + 1)): interval([run[rule][k] for run in runs]) for k in (3, 7, 15, 31)}
                     for rule in runs[0]},
    }  # fmt: skip
    print(json.dumps(result | described()))


if __name__ == "__main__":
    main()
