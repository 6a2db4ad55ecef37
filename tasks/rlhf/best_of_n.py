"""Best-of-n sampling: the baseline that PPO is compared with at equal KL."""

from __future__ import annotations

import math

import torch


def best_of_n_kl(n: int) -> float:
    """KL divergence in nats of best-of-n from the policy that it samples: log n − (n − 1)/n.

    Exact where no two samples tie, an upper bound otherwise. Stiennon et al. (2020), appendix G.3.
    """
    return math.log(n) - (n - 1) / n


def expected_best_of_n(by: torch.Tensor, values: torch.Tensor, n: int) -> torch.Tensor:
    """Expected value (P,) of the best of n samples as `by` ranks them, from N ≥ n samples of each of P prompts.

    `by`, `values`: (P, N). Unbiased, and of less variance than one draw: of all C(N, n) subsets, the sample of rank i
    (1 is the worst) is the best of C(i − 1, n − 1). Nakano et al. (2021), appendix I.
    """
    samples = by.shape[1]
    weights = [math.comb(i - 1, n - 1) / math.comb(samples, n) for i in range(1, samples + 1)]
    ranked = values.gather(1, by.argsort(1)).double()
    return ranked @ torch.tensor(weights, dtype=torch.float64)
