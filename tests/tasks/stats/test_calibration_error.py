"""Calibration on cases whose answer is known."""

import numpy as np
import pytest

from tasks.stats.calibration_error import brier_score, expected_calibration_error


def test_a_calibrated_forecast_has_almost_no_error_and_an_overconfident_one_its_gap() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    came = (rng.random(20_000) < p).astype(float)
    assert expected_calibration_error(p, came) < 0.015
    sure = np.where(p > 0.5, 0.95, 0.05)
    assert expected_calibration_error(sure, came) == pytest.approx(0.2, abs=0.02)


def test_brier_score() -> None:
    assert brier_score(np.array([1.0, 0.0, 0.5]), np.array([1.0, 1.0, 1.0])) == pytest.approx((0 + 1 + 0.25) / 3)
