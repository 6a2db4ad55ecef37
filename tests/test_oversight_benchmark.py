"""The whole of `python -m benchmarks.oversight`, on few trees and with little training."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.oversight.small_model import SIZES
from tasks.oversight.trees import KINDS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    picture = tmp_path_factory.mktemp("picture") / "accuracy.png"
    small = ["--seeds", "2", "--questions", "12", "--training", "0.2", "--picture", str(picture)]
    command = [sys.executable, "-m", "benchmarks.oversight", *small]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert picture.read_bytes().startswith(b"\x89PNG")
    (line,) = done.stdout.splitlines()
    return json.loads(line)


def test_every_part_has_its_figures(printed: dict[str, Any]) -> None:
    figures = printed["figures"]
    assert (printed["seeds"], printed["questions"], printed["training"]) == ([0, 1], 12, 0.2)
    assert printed["simulated_experts"] and printed["machine"] and printed["judges"].keys() == SIZES.keys()
    assert all(
        row.keys() == {"mean", "low", "high"} and row["low"] <= row["mean"] <= row["high"] for row in figures.values()
    )
    for kind in KINDS:
        for size in SIZES:
            of = {name.removeprefix(f"{kind}/{size}/") for name in figures if name.startswith(f"{kind}/{size}/")}
            for depth in range(1, 7):
                for name in ("direct", "consultancy_wrong", "debate_in_turns", "amplification/5 levels"):
                    assert f"depth {depth}/{name}" in of
            assert {"depth 5/debate/quotes", "depth 5/debate/1 turns", "depth 5/consultancy/errors 0.2"} <= of
        for name in ("overseer/amplified", "distilled/round 2 alone", "labels of depth", "reward/level 3 helps"):
            assert f"{kind}/depth 4/{name}" in figures
    for name in ("before/held_out", "debate/judge", "truth/held_out", "debate_minus_direct/held_out"):
        assert f"logic/policy/{name}" in figures


def test_what_is_said_of_debate_shows_on_little_training(printed: dict[str, Any]) -> None:
    """Beyond what the judge can read, a debate tells him what he does not know alone and a consultant who lies misleads him;
    a policy learns more from the truth than it knew."""
    mean = {name: row["mean"] for name, row in printed["figures"].items()}

    def deep(name: str) -> float:
        return sum(mean[f"{kind}/large/depth {depth}/{name}"] for kind in KINDS for depth in (4, 5, 6)) / (
            3 * len(KINDS)
        )

    assert deep("debate") > deep("direct") + 0.1 > deep("consultancy_wrong") + 0.2
    assert deep("debate_minus_direct") == pytest.approx(deep("debate") - deep("direct"), abs=1e-3)
    assert mean["logic/policy/debate/judge"] > mean["logic/policy/direct/judge"] + 0.05
    assert mean["logic/policy/truth/held_out"] > mean["logic/policy/before/held_out"]
