"""Estimators of KL against the exact divergence, and the controller against values worked by hand."""

import pytest
import torch

from tasks.rlhf.kl import adapted_coefficient, kl_per_token

P = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
Q = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
EXACT = float((P * (P / Q).log()).sum())


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_k1_and_k3_are_unbiased(estimator: str) -> None:
    """Their expectation under P is the divergence itself."""
    assert float((P * kl_per_token(P.log(), Q.log(), estimator)).sum()) == pytest.approx(EXACT, rel=1e-12)


def test_each_estimator_is_its_own_formula() -> None:
    d = float((P[0] / Q[0]).log())
    expected = {"k1": d, "k2": d * d / 2, "k3": float(Q[0] / P[0]) - 1 + d}
    for name, value in expected.items():
        assert float(kl_per_token(P.log()[0], Q.log()[0], name)) == pytest.approx(value, rel=1e-9)
    assert (kl_per_token(P.log(), Q.log(), "k1") < 0).any()
    assert (kl_per_token(P.log(), Q.log(), "k2") >= 0).all()
    assert (kl_per_token(P.log(), Q.log(), "k3") >= 0).all()
    with pytest.raises(ValueError, match="k4"):
        kl_per_token(P, Q, "k4")


def test_the_coefficient_follows_its_target() -> None:
    assert adapted_coefficient(0.1, 6.6, 6.0, 1000, 100) == pytest.approx(0.1 * 1.01)  # 10 % over
    assert adapted_coefficient(0.1, 60.0, 6.0, 1000, 100) == pytest.approx(0.1 * 1.02)  # cut at 20 %
    assert adapted_coefficient(0.1, 0.0, 6.0, 1000, 100) == pytest.approx(0.1 * 0.98)
    assert adapted_coefficient(0.1, 60.0, None, 1000, 100) == 0.1
