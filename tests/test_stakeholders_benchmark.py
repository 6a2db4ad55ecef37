"""`python -m benchmarks.stakeholders` on two seeds: whom each rule serves, and what that costs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]


def test_maximin_lifts_the_worst_off_group_and_costs_everybody_some() -> None:
    command = [sys.executable, "-m", "benchmarks.stakeholders", "--seeds", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    printed = json.loads(done.stdout)
    assert printed["simulated"] and printed["seeds"] == [0, 1] and printed["n"] == 16
    mean = {rule: {name: row["mean"] for name, row in rows.items()} for rule, rows in printed["figures"].items()}
    assert mean.keys() == {"utilitarian", "maximin", "nash", "quantile"}
    assert mean["maximin"]["worst"] > mean["utilitarian"]["worst"] + 0.5
    assert mean["maximin"]["everybody"] < mean["utilitarian"]["everybody"]
    assert mean["utilitarian"]["north"] > mean["utilitarian"]["south"]  # the north is four fifths
