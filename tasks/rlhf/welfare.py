"""Scores of several heads as one: how what different people, or different criteria, want is weighed against each other.

With s_g the score of head g, in log-odds of being preferred to an average demonstration, and w_g ≥ 0 its weight:

    utilitarian   Σ_g w_g s_g
    maximin       min_g s_g                          over the heads that have weight
    nash          Σ_g w_g log σ(s_g) / Σ_g w_g
    quantile      the least s_g up to which the heads have a share q of the weight

Utilitarian is what one reward model of everybody's votes stands for (Siththaranjan et al. 2024: what it leaves out is who
disagrees). Max–min (Rawls 1971) is Chakraborty et al. (2024), "MaxMin-RLHF". Nash's product of utilities (Nash 1950;
Kaneko and Nakamura 1979) needs a utility above nothing: here σ(s_g), the probability that the group prefers the response
to an average demonstration. The quantile is between the median and max–min. No rule is right; one must be chosen, and its
choice is a decision about values (Conitzer et al. 2024). Where two heads are a distribution (`tasks.rlhf.distributional`) the quantile is
that of the distribution, and its mean is the weighted sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from tasks.rlhf.distributional import NORMAL_QUANTILE, normal_quantile

UTILITARIAN = "utilitarian"
Rule = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def utilitarian(scores: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted sum (N,) of scores (N, G); weights (G,)."""
    return scores @ weights


def maximin(scores: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Lowest (N,) of scores (N, G) of the heads with weight."""
    return scores[:, weights > 0].amin(1)


def nash(scores: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted mean (N,) of log σ of scores (N, G)."""
    return torch.nn.functional.logsigmoid(scores) @ weights / weights.sum()


def quantile(share: float) -> Rule:
    """Weighted `share`-quantile (N,) of scores (N, G): the least one up to which that share of the weight lies."""

    def rule(scores: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        ordered, place = scores.sort(1)
        reached = weights[place].cumsum(1) >= share * weights.sum() - 1e-6
        return ordered.gather(1, reached.float().argmax(1, keepdim=True))[:, 0]

    return rule


def rules(share: float) -> dict[str, Rule]:
    """Every rule by its name in params.yaml; `share` is that of `quantile`."""
    return {UTILITARIAN: utilitarian, "maximin": maximin, "nash": nash, "quantile": quantile(share)}


def declare_rule(model: Any, rule: str, share: float, *, distribution: bool) -> None:
    """Write the rule into the configuration that is saved with a reward model of several heads, or of a `distribution`'s two. The
    weighted sum, which is the mean of a distribution, is what is done without one."""
    if rule != UTILITARIAN:
        model.config.head_rule = {"rule": NORMAL_QUANTILE if distribution else rule, "quantile": share}


def combined(scores: torch.Tensor, config: Any) -> torch.Tensor:
    """Scores (N,) of the heads' (N, G), by the rule in a reward model's `config`; as they are where it has none."""
    declared: Mapping[str, Any] | None = getattr(config, "head_rule", None)
    if not declared:
        return scores
    if declared["rule"] == NORMAL_QUANTILE:
        return normal_quantile(scores, declared["quantile"])
    weights = torch.tensor(config.head_weights, dtype=scores.dtype, device=scores.device)
    return rules(declared["quantile"])[declared["rule"]](scores, weights)
