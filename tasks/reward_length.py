"""Length-debiased reward: the length effect of a trained reward model, and what is left of it on the test side.

The slope comes from the dev part of the training side. On rows that the model was trained on it is too steep: their
margins are partly learned by heart, the labels follow length, and so the score would be corrected for more than it owes.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch

from tasks.rlhf.branches import answer_scores
from tasks.rlhf.length_effect import length_slope, store_length_effect
from tasks.rlhf.precision import Bf16, autocast
from tasks.rlhf.reward_trainer import RankedRow


def debias(
    model: Any, dev: Sequence[RankedRow], centre: float, drawn: Mapping[str, Any], *, bf16: Bf16
) -> list[dict[str, float]]:
    """Store in the model what its score owes to length, by the answers of `dev`, which it was not trained on; gives the
    slope of each head, in score per unit of log length, with its percentile bootstrap interval over rankings.

    `centre`: mean log length of the demonstrations; `drawn`: level, resamples and seed of the interval.
    """
    answers = [answer for r in dev for answer in r.answers]
    with autocast(bf16, model.device):
        scores = answer_scores(model, answers, None).double().reshape(len(answers), -1)
    pairs, at = [], 0
    for r in dev:
        pairs += [(at + i, at + j) for i, j in combinations(range(len(r.answers)), 2)]
        at += len(r.answers)
    first, second = torch.tensor(pairs).T
    logs = torch.tensor([n for r in dev for n in r.lengths], dtype=torch.float64).log()
    score_gaps, log_gaps = scores[first] - scores[second], logs[first] - logs[second]
    slope = length_slope(score_gaps, log_gaps)
    store_length_effect(model, slope, centre)
    of = torch.repeat_interleave(torch.tensor([len(r.weights) for r in dev]))
    generator, again = torch.Generator().manual_seed(drawn["seed"]), []
    for _ in range(drawn["resamples"]):
        times = torch.bincount(torch.randint(len(dev), (len(dev),), generator=generator), minlength=len(dev))[of]
        root = times.double().sqrt()
        again.append(length_slope(score_gaps * root[:, None], log_gaps * root))
    ends = torch.tensor([(1 - drawn["level"]) / 2, (1 + drawn["level"]) / 2], dtype=torch.float64)
    low, high = torch.quantile(torch.stack(again), ends, dim=0).tolist()
    return [{"slope": s, "low": a, "high": b} for s, a, b in zip(slope.tolist(), low, high, strict=True)]


def correlation_row(
    name: str, margins: np.ndarray, log_gaps: np.ndarray, clusters: np.ndarray, drawn: Mapping[str, Any]
) -> dict[str, Any]:
    """A row of `metrics.json`: ΣΔrΔℓ / √(ΣΔr² ΣΔℓ²), the correlation of differences in score and in log length (n,) if
    every pair is taken both ways round, with its percentile bootstrap interval over clusters of pairs."""
    labels = np.unique(clusters, return_inverse=True)[1]
    sums = np.array([np.bincount(labels, weights=w) for w in (margins * log_gaps, margins**2, log_gaps**2)])

    def correlation(rows: np.ndarray) -> float:
        product, first, second = sums[:, rows].sum(1)
        return float(product / np.sqrt(first * second)) if first * second > 0 else 0.0

    rng, every = np.random.default_rng(drawn["seed"]), np.arange(sums.shape[1])
    again = [correlation(rng.choice(every, len(every))) for _ in range(drawn["resamples"])]
    low, high = np.quantile(again, [(1 - drawn["level"]) / 2, (1 + drawn["level"]) / 2])
    value = correlation(every)
    return {"name": name, "value": value, "low": float(low), "high": float(high), "n": len(margins), "slice": None}
