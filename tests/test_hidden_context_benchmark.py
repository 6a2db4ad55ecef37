"""`python -m benchmarks.hidden_context` on two seeds: spreads tell where two hidden groups differ, and nothing where they do not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]


def test_spreads_tell_contested_prompts() -> None:
    command = [sys.executable, "-m", "benchmarks.hidden_context", "--seeds", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    printed = json.loads(done.stdout)
    assert printed["simulated"] and printed["seeds"] == [0, 1] and printed["n"] == 16
    mean = {name: row["mean"] for name, row in printed["figures"].items()}
    assert mean["two groups/auroc of prompts"] > 0.9 > mean["one mind/auroc of prompts"] + 0.1
    assert mean["two groups/r2"] < mean["one mind/r2"] - 0.2
