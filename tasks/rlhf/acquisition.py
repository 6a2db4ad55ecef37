"""Which pair of a policy's answers to one prompt people should compare next, from an ensemble's scores (M, K) of K answers.

    disagreement(a, b) = Var_m[s_m(a) − s_m(b)]                        what the members do not agree on
    information(a, b)  = H(mean_m p_m) − mean_m H(p_m),  p_m = σ(s_m(a) − s_m(b)),  H(p) = −p ln p − (1 − p) ln(1 − p)

The first is query by committee (Christiano et al. 2017, "Deep RL from Human Preferences", section 2.2.4); the second is
what a label is expected to tell of which member is right, in nats (BALD; Houlsby et al. 2011, arXiv 1112.5745). A pair
on which all members are equally unsure is worth nothing to either: there the label is noise.
"""

from collections.abc import Callable

import torch

Acquisition = Callable[[torch.Tensor], torch.Tensor]


def disagreement(scores: torch.Tensor) -> torch.Tensor:
    """(K, K) variance between the members of each pair's difference of scores (M, K)."""
    return (scores[:, :, None] - scores[:, None, :]).var(0, unbiased=False)


def information(scores: torch.Tensor) -> torch.Tensor:
    """(K, K) expected information of each pair's label, in nats."""
    p = torch.sigmoid(scores[:, :, None] - scores[:, None, :])
    return _entropy(p.mean(0)) - _entropy(p).mean(0)


RULES: dict[str, Acquisition] = {"disagreement": disagreement, "information": information}


def best_pair(values: torch.Tensor, allowed: torch.Tensor) -> tuple[int, int, float]:
    """(a, b, value) of the pair a < b of most value among those `allowed`; both (K, K). Raises ValueError if none is."""
    over = torch.triu(allowed, diagonal=1)
    if not over.any():
        raise ValueError("no pair is allowed")
    at = int(torch.where(over, values, -torch.inf).argmax())
    a, b = divmod(at, len(values))
    return a, b, float(values[a, b])


def _entropy(p: torch.Tensor) -> torch.Tensor:
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))
