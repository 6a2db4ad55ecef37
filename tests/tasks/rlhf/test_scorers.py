"""Ensembles of scorers by hand-worked values."""

from typing import Any

import pytest
import torch

from tasks.rlhf.scorers import ensemble, ensemble_mean, mean_minus_variance, worst_case

MEMBERS = ([1.0, 4.0], [3.0, 4.0], [2.0, 1.0])


@pytest.mark.parametrize(
    ("combine", "expected"),
    [(ensemble_mean, [2.0, 3.0]), (worst_case, [1.0, 1.0]), (mean_minus_variance(0.5), [2 - 1 / 3, 2.0])],
)
def test_members_are_combined(combine: Any, expected: list[float]) -> None:
    scorers = [lambda _, scores=member: torch.tensor(scores) for member in MEMBERS]
    scores = ensemble(scorers, combine)(None)  # type: ignore[arg-type]
    assert torch.allclose(scores, torch.tensor(expected))
