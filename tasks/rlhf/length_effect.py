"""The effect of a response's length on a reward model's score, taken off wherever the model scores.

    r'(x, y) = r(x, y) − β (log |y| − m)
    β = Σ Δr Δℓ / Σ Δℓ²

|y| is the response's length in tokens, its end token included; Δr and Δℓ are differences in score and in log |y| between
two answers to one prompt, so that what differs between prompts plays no part; β is the least-squares slope through the
origin, since a pair may be shown either way round. m centres the term and changes no order.

Reward models pay for length, because annotators do and because length is easy to see (Singhal et al. 2023, "A Long Way to
Go"). The slope is estimated after the training, on answers that it did not see and without their labels, and subtracted.
Two things then hold by construction and not by a training that must succeed: on the answers that β comes from, score and
log length are uncorrelated within a prompt; and answers of equal length keep their order and their distance, so that no
accuracy among them is lost. Training a second head that takes the length (ODIN, Chen et al. 2024) or beside a length expert
(Clark et al. 2019) promises neither: both work only as far as the training has come when it is stopped early, and the
head that is kept can still read length from the trunk. A slope that depends on the length itself, by local regression,
is Huang et al. (2024), "Post-hoc Reward Calibration"; log |y| with one slope needs fewer pairs and cannot overfit.

What it cannot do: if longer answers are better, that part of the score goes, too; and only length is taken off, not what
comes with it, such as lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def length_slope(score_gaps: torch.Tensor, log_gaps: torch.Tensor) -> torch.Tensor:
    """β, a scalar in fp64, of score differences (n,) and differences in log length (n,); (C,) of C heads' (n, C). 0 where
    no two answers differ in length."""
    gaps, by = score_gaps.double(), log_gaps.double()
    square = (by**2).sum()
    return by @ gaps / square if square > 0 else torch.zeros_like(gaps[0])


def store_length_effect(model: Any, slope: torch.Tensor, centre: float) -> None:
    """Write β (one for each head) and m into the configuration that is saved with the model."""
    model.config.length_effect = {"slope": slope.tolist(), "centre": centre}


def less_length(scores: torch.Tensor, config: Any, lengths: Sequence[float] | torch.Tensor | None) -> torch.Tensor:
    """`scores` (N,), or (N, C) of C heads, less the effect of `lengths` (N,) in tokens, as `config` has it; unchanged for
    a model without one. Raises ValueError where it has one and no lengths are given."""
    effect = getattr(config, "length_effect", None)
    if not effect:
        return scores
    if lengths is None:
        raise ValueError("this reward model's score depends on the length of the response, which is not given")
    by = torch.as_tensor(lengths, dtype=torch.float64, device=scores.device).log() - effect["centre"]
    slope = torch.tensor(effect["slope"], dtype=torch.float64, device=scores.device)
    return scores - (by[:, None] * slope if scores.ndim > 1 else by * slope.sum()).to(scores.dtype)
