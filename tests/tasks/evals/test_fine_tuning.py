"""A later fine-tune: methods are compared at the gain that all of them reach."""

from pathlib import Path

import numpy as np
import pytest

from tasks.evals import fine_tuning
from tests.tasks.evals.conftest import RAW, bench_of

pytestmark = pytest.mark.xdist_group("evals")


def test_a_figure_is_interpolated_between_the_fine_tunes_around_a_gain() -> None:
    points = [(g, {"judge": np.array([v, 0.0])}) for g, v in ((0.0, 0.0), (0.2, -1.0), (0.4, -3.0), (0.3, -9.0))]
    assert fine_tuning.at_gain(points, 0.3, "judge") == pytest.approx([-2.0, 0.0])
    with pytest.raises(ValueError, match="no fine-tune reaches"):
        fine_tuning.at_gain(points, 0.5, "judge")


@pytest.mark.slow
def test_methods_meet_at_equal_gain(bench_folder: Path, tmp_path: Path) -> None:
    """Rates at which the tiny model learns: every method gains, and the low rate gains least in as many epochs."""
    tuned = {"data": {"gsm8k": str(RAW / "gsm8k/train.jsonl.gz")}, "learning_rate": 0.01, "lora_learning_rate": 0.02}
    bench = bench_of(bench_folder, tmp_path / "r.sqlite", fine_tuning=tuned)
    outcome = fine_tuning.run(bench)
    found = {(r.metric.removeprefix("fine_tuning/gsm8k/"), r.slice): r for r in outcome.results}
    gains = {m: found[(f"gain/{m}", "epochs: 4")].value for m in ("full", "low_learning_rate", "lora")}
    assert gains["full"] > gains["low_learning_rate"] > 0
    for figure in ("judge", "harm"):
        full, lora = (found[(f"{figure}_at_equal_gain/{m}", None)].value for m in ("full", "lora"))
        between = found[(f"{figure}_at_equal_gain/lora_minus_full", None)]
        assert between.value == pytest.approx(lora - full) and between.low <= between.value <= between.high
    (method, reached) = min(gains.items(), key=lambda g: g[1])
    last = found[(f"judge_change/{method}", "epochs: 4")].value  # the place of the comparison is this method's last
    assert reached > 0 and found[(f"judge_at_equal_gain/{method}", None)].value == pytest.approx(last)
