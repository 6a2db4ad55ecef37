"""Best-of-n against enumeration, and its KL against simulation."""

from itertools import combinations

import pytest
import torch

from tasks.rlhf.best_of_n import best_of_n_kl, expected_best_of_n


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_expectation_is_the_mean_over_all_subsets(n: int) -> None:
    generator = torch.Generator().manual_seed(0)
    by, values = (torch.randn(4, 6, generator=generator) for _ in range(2))
    for p in range(4):
        best = [max(subset, key=lambda i: float(by[p, i])) for subset in combinations(range(6), n)]
        expected = sum(float(values[p, i]) for i in best) / len(best)
        assert float(expected_best_of_n(by, values, n)[p]) == pytest.approx(expected, rel=1e-6)


def test_kl_is_that_of_the_maximum_of_n_uniforms() -> None:
    """The density of the maximum of n uniform numbers is n·u^(n−1): E log of it is log n + (n − 1)·E log u."""
    n, draws = 8, 200_000
    u = torch.rand(draws, n, generator=torch.Generator().manual_seed(0)).double().amax(1)
    simulated = (torch.log(torch.tensor(float(n))) + (n - 1) * u.log()).mean()
    assert best_of_n_kl(n) == pytest.approx(float(simulated), abs=0.01)
    assert best_of_n_kl(1) == 0.0
