"""`python -m benchmarks.real_raters` on SIMULATED raters in the format of CREHate, whose groups look at other words."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

ROOT = Path(__file__).resolve().parents[1]
WORDS = {"North": "alpha", "South": "beta"}
PEOPLE = ["North"] * 40 + ["South"] * 20 + ["East"] * 3


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder, draw = tmp_path_factory.mktemp("raters"), random.Random(0)
    posts, votes = [], []
    for k in range(160):
        words = [w for w in ("alpha", "beta", "gamma", "delta") if draw.random() < 0.5]
        posts.append({"ID": f"p{k}", "Text": " ".join(["post", *words])})
        for who in draw.sample(range(len(PEOPLE)), 16):
            says = (WORDS.get(PEOPLE[who], "gamma") in words) == (draw.random() < 0.9)
            votes.append(
                {"ID": f"p{k}", "annotator_id": 1000 + who, "nationality": PEOPLE[who], "annotation": int(says)}
            )
    votes.append({"ID": "p0", "annotator_id": 5000, "nationality": None, "annotation": 2})  # cannot say
    pl.DataFrame(votes).write_csv(folder / "votes.csv")
    pl.DataFrame(posts).write_csv(folder / "texts.csv")
    command = [sys.executable, "-m", "benchmarks.real_raters", "--votes", str(folder / "votes.csv")]
    command += ["--texts", str(folder / "texts.csv"), "--seeds", "2", "--least", "10"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def test_a_groups_own_people_know_it_best_and_one_reward_serves_the_larger_group(printed: dict[str, Any]) -> None:
    mean = {name: row["mean"] for name, row in printed["figures"].items()}
    assert printed["people"] == {"North": 40, "South": 20} and printed["posts"] == 160  # the east is too few
    for group in WORDS:
        assert mean[f"people/{group}/own_minus_others"] > 0.2
        assert mean[f"text/{group}/own"] > 0.8
    assert mean["text/North/one"] > mean["text/South/one"] + 0.15
    assert mean["text/South/own_minus_one"] > 0.15
    assert mean["text/one_best_minus_worst_group"] == pytest.approx(
        mean["text/North/one"] - mean["text/South/one"], abs=1e-3
    )


def test_the_groups_are_found_by_the_votes_alone(printed: dict[str, Any]) -> None:
    found = printed["found"]
    assert found["in_the_second"]["South"] > 0.9 and found["in_the_second"]["North"] < 0.1
    assert found["sure"] > 0.9 and found["gain_nats_per_vote"] > 0.02
    assert "1000" not in json.dumps(found)  # nobody's id
