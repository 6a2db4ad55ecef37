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


def ranked_pairs(
    scores: torch.Tensor,
    *,
    margin: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Bradley–Terry loss of every pair of K-way rankings, a scalar: mean over rankings of
    [Σ_{i<j} w_ij · loss(s_i − s_j)] / C(K, 2), `loss` as in `bradley_terry`.

    `scores` (n, K): of the responses in the order of the ranking, best first; `margin`, `weight` (n, C(K, 2)): of its
    pairs, (1, 2) first, (K − 1, K) last. All pairs of one prompt are in one batch and weigh together as much as one: as
    separate rows they would be K − 1 looks at each response. With K = 2 this is `bradley_terry`.
    Source: Ouyang et al. (2022), equation 1.
    """
    better, worse = torch.triu_indices(scores.shape[1], scores.shape[1], 1, device=scores.device)
    return bradley_terry(
        scores[:, better].flatten(),
        scores[:, worse].flatten(),
        margin=None if margin is None else margin.flatten(),
        weight=None if weight is None else weight.flatten(),
        label_smoothing=label_smoothing,
    )


def plackett_luce(scores: torch.Tensor, *, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Weighted negative log-likelihood of K-way rankings, a scalar: mean over rankings of
    −w Σ_k [s_k − log Σ_{j ≥ k} exp s_j].

    `scores` (n, K): of the responses in the order of the ranking, best first; `weight` (n,). The best is chosen from all
    K, the next from those that are left, and so on; with K = 2 this is the Bradley–Terry loss. Computed in fp32.
    Source: Luce (1959); Plackett (1975).
    """
    scores = scores.float()
    left = scores.flip(-1).logcumsumexp(-1).flip(-1)
    losses = (left - scores).sum(-1)
    return (losses if weight is None else losses * weight).mean()
