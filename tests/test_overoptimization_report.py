"""The figures of the over-optimization benchmark on curves whose answer is known."""

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).resolve().parents[1] / "benchmarks/overoptimization_report.py"


@pytest.fixture(scope="module")
def report() -> Any:
    spec = importlib.util.spec_from_file_location("overoptimization_report", FILE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_of(alpha: float, beta: float) -> dict[str, list[dict[str, float]]]:
    """gold(d) = d(α − β log d), which is highest at log d = α/β − 1; the proxy rises with d."""
    d = [k / 20 for k in range(1, 200)]
    start = {"d": 0.0, "gold": 0.0, "proxy": 0.0}
    return {"PPO, a": [start, *({"d": x, "gold": x * (alpha - beta * math.log(x)), "proxy": x} for x in d)]}


def test_fit_and_peak_of_a_known_curve(report: Any) -> None:
    runs = [run_of(1.0, 0.5), run_of(1.0, 0.5), run_of(1.0, 0.5)]
    row = report.figures(runs)["PPO, a"]
    assert row["alpha"] == pytest.approx([1.0] * 3) and row["beta"] == pytest.approx([0.5] * 3)
    assert row["peak d"][0] == pytest.approx(math.e, abs=0.06)
    assert row["gold lost after budget"][0] > 0.5 and row["proxy gained after budget"][0] > 5
    assert row["share of peak kept by budget"][0] == pytest.approx(1.0, abs=0.01)


def test_a_budget_does_not_see_the_curve_it_is_tried_on(report: Any) -> None:
    curves = [run_of(1.0, 0.5)["PPO, a"], run_of(0.5, 0.5)["PPO, a"], run_of(0.5, 0.5)["PPO, a"]]
    first, second, third = report.budgets(curves)
    assert first == pytest.approx(1.0, abs=0.06)  # the peak of the others
    assert second == third > first


def test_intervals_are_wide_for_few_seeds(report: Any) -> None:
    mean, low, high = report.interval([1.0, 2.0])
    assert (mean, round(high - low)) == (1.5, 13)  # t(1) = 12.706
