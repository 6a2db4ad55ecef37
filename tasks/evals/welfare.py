"""Welfare of each group that has a head of its own: what its head of the judge says of the responses of a model.

The worst group's welfare is min_g of the groups' means (Rawls 1971); its interval draws prompts and takes the minimum anew,
so that it is of whichever group is worst. `other_choice` says of how many prompts a rule would have chosen another response
than the declared rule did, among the same samples: where every rule chooses alike, the decision between them costs nobody
anything.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from tasks.evals.win_rate import Rate
from tasks.rlhf.welfare import rules
from tasks.stats.intervals import bootstrap_mean, wilson


def group_welfare(scores: np.ndarray, samples: int, **drawn: Any) -> tuple[list[Rate], Rate]:
    """(mean score of each group, that of the worst group), of scores (prompts · samples, G); `drawn`: level, resamples and
    seed of the bootstrap over prompts."""
    prompts = np.repeat(np.arange(len(scores) // samples), samples)
    means = scores.mean(0)
    each = [
        Rate(float(mean), *bootstrap_mean(column, clusters=prompts, **drawn), len(column))
        for mean, column in zip(means, scores.T, strict=True)
    ]
    by_prompt = scores.reshape(-1, samples, scores.shape[1]).mean(1)
    rng = np.random.default_rng(drawn["seed"])
    worst = [
        by_prompt[rng.integers(len(by_prompt), size=len(by_prompt))].mean(0).min() for _ in range(drawn["resamples"])
    ]
    low, high = np.quantile(worst, [(1 - drawn["level"]) / 2, (1 + drawn["level"]) / 2])
    return each, Rate(float(means.min()), float(low), float(high), len(scores))


def other_choices(
    scores: np.ndarray, weights: Sequence[float], samples: int, declared: str, share: float, level: float
) -> Mapping[str, Rate]:
    """For each rule but the declared one, the share of prompts of which it chooses another of the `samples` responses, with
    Wilson's interval. `scores` (prompts · samples, G); `share` is that of the rule `quantile`."""
    given, w = torch.as_tensor(scores, dtype=torch.float64), torch.tensor(list(weights), dtype=torch.float64)
    chosen = {name: rule(given, w).reshape(-1, samples).argmax(1) for name, rule in rules(share).items()}
    found = {}
    for name, picked in chosen.items():
        if name != declared:
            other, n = int((picked != chosen[declared]).sum()), len(picked)
            found[name] = Rate(other / n, *wilson(other, n, level), n)
    return found
