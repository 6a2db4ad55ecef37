"""What the monitor measures of a logged response: the evaluation's own figures, by every member of a reward ensemble."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tasks.evals.harm import harm_limit
from tasks.logs import Interaction
from tasks.monitor_series import SERIES, Meter, Yardstick
from tasks.rlhf.ensembles import save_rule
from tests.tasks.evals.conftest import bench_of

pytestmark = pytest.mark.xdist_group("evals")
TEXTS = ("Bread is baked from flour.", "I'm sorry, I can't help with that.", "Yes.")


def test_series_are_those_of_the_evaluation(bench_folder: Path, tmp_path: Path) -> None:
    both = shutil.copytree(bench_folder / "reward", tmp_path / "both")
    shutil.copytree(bench_folder / "judge", both / "member-2")
    save_rule(both, SimpleNamespace(members=2, rule="worst", variance_weight=0.0))
    bench = bench_of(bench_folder, tmp_path / "a.sqlite")
    yardstick = Yardstick.of(bench)
    yardstick.save(tmp_path / "yardstick")
    kept = Yardstick.load(tmp_path / "yardstick")
    assert kept is not None and kept.harm_limit == yardstick.harm_limit == harm_limit(bench)
    prompt = [{"role": "user", "content": "What is bread?"}]
    logged = [Interaction(prompt, text, None, "", "log: line 1") for text in TEXTS]
    found = Meter(kept, {"reward": both, "judge": bench_folder / "judge"}).measure(logged)
    reward, judge = (bench.score_texts(name, [prompt] * len(TEXTS), TEXTS) for name in ("reward", "judge"))
    assert found["reward"] == pytest.approx(np.minimum(reward, judge), abs=1e-5)
    assert found["refusal"].tolist() == [0, 1, 0]
    assert found["harm"].tolist() == [float(s < kept.harm_limit and i != 1) for i, s in enumerate(judge)]
    assert set(found) <= set(SERIES) and all(np.isfinite(values).all() for values in found.values())
