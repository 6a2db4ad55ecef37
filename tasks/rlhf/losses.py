"""Preference losses as pure functions."""

import torch
from torch.nn.functional import logsigmoid


def bradley_terry(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    *,
    margin: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Weighted Bradley–Terry loss, a scalar: Σ wᵢ · [−(1 − ε) log σ(dᵢ) − ε log σ(−dᵢ)] / n, where
    dᵢ = chosenᵢ − rejectedᵢ − marginᵢ.

    `chosen`, `rejected`: scores (n,) of each pair; `margin` (n,) as in Llama 2 (Touvron et al. 2023); `weight` (n,)
    with mean 1 over the training set, so that dividing by n and not by Σw keeps each row's own share in every batch;
    `label_smoothing` ε: share of labels taken to be the wrong way round (Mitchell 2023). Computed in fp32.
    Source: Bradley and Terry (1952); Stiennon et al. (2020), equation 1.
    """
    difference = chosen.float() - rejected.float()
    if margin is not None:
        difference = difference - margin
    losses = -(1 - label_smoothing) * logsigmoid(difference) - label_smoothing * logsigmoid(-difference)
    return (losses if weight is None else losses * weight).mean()
