"""Preference losses as pure functions."""

import torch
from torch.nn.functional import logsigmoid


def bradley_terry(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    *,
    margin: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """Weighted Bradley–Terry loss, a scalar: Σ wᵢ · −log σ(chosenᵢ − rejectedᵢ − marginᵢ) / n.

    `chosen`, `rejected`: scores (n,) of each pair; `margin` (n,) as in Llama 2 (Touvron et al. 2023); `weight` (n,)
    with mean 1 over the training set, so that dividing by n and not by Σw keeps each row's own share in every batch.
    Source: Bradley and Terry (1952); Stiennon et al. (2020), equation 1.
    """
    difference = chosen.float() - rejected.float()
    if margin is not None:
        difference = difference - margin
    losses = -logsigmoid(difference)
    return (losses if weight is None else losses * weight).mean()
