"""Rounds of labels: which pairs are taken, and how the reward model's accuracy on them is measured."""

import contextlib
import json
import random
from pathlib import Path

import pytest
import torch
import yaml

from governance.errors import BadInput
from tasks import params
from tasks.rounds import (
    SIMULATED,
    Pair,
    _chosen,
    accuracy,
    panel,
    panel_labels,
    principle_labels,
    questions,
    read_labels,
    simulated_labels,
)
from tests.tasks.choice_server import choice_server

SHIPPED = Path(__file__).resolve().parents[2] / "params.yaml"
PROMPT = [{"role": "user", "content": "Why?"}]


def _pair(k: int, scores: list[float], *, at_random: bool) -> Pair:
    return Pair(PROMPT, [f"a{k}", f"b{k}"], scores, at_random)


def test_accuracy_is_apart_for_pairs_at_random() -> None:
    pairs = [_pair(k, [1.0, 0.0], at_random=k < 4) for k in range(10)]
    labels = [q | {"ranking": [0, 1] if k % 2 else [1, 0]} for k, q in enumerate(questions(pairs, 1))]
    measured = accuracy(pairs, labels)
    assert measured["at_random"]["value"] == 0.5 and measured["at_random"]["n"] == 4
    assert measured["chosen"]["n"] == 6 and measured["chosen"]["low"] < 0.5 < measured["chosen"]["high"]
    assert accuracy(pairs, []) == {"at_random": None, "chosen": None}


def test_equal_scores_are_half_right_and_foreign_labels_count_nothing() -> None:
    pairs = [_pair(0, [1.0, 1.0], at_random=True)]
    (row,) = questions(pairs, 1)
    foreign = row | {"responses": ["x", "y"], "ranking": [0, 1]}
    measured = accuracy(pairs, [row | {"ranking": [1, 0]}, foreign])
    assert measured["at_random"] == pytest.approx({"value": 0.5, "n": 1, "low": 0.0546, "high": 0.9454}, abs=1e-3)


def test_what_most_raters_say_counts_once_for_a_pair() -> None:
    pairs = [_pair(k, [1.0, 0.0], at_random=True) for k in range(3)]
    said = {0: [[0, 1], [0, 1], [1, 0]], 1: [[1, 0], [0, 1], [1, 0]], 2: [[0, 1], [1, 0]]}  # right, wrong, as many
    labels = [q | {"ranking": r} for k, q in enumerate(questions(pairs, 1)) for r in said[k]]
    measured = accuracy(pairs, labels)
    assert (measured["at_random"]["value"], measured["at_random"]["n"]) == (0.5, 3)
    assert accuracy(pairs, labels[:3])["at_random"]["value"] == 1.0


def with_panel(*shares: float) -> params.Params:
    """The shipped params.yaml with another panel."""
    raw = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    raw["rounds"]["panel"] = list(shares)
    return params.parse(raw, "params.yaml")


def test_each_rater_of_the_panel_says_what_is_preferred_as_often_as_declared() -> None:
    """2,000 pairs of which the first answer is preferred with .7: a share is within .04 of its probability but once in 10,000 times."""
    n, settings = 2000, with_panel(1.0, 0.84, 0.5, 0.1)
    asked = questions([_pair(k, [0.0, 0.0], at_random=True) for k in range(n)], 1)
    rows = panel_labels(asked, [0.7] * n, settings, 1)
    said = {name: [row["ranking"] for row in rows if row["annotator_id"] == name] for name in panel(settings)}
    assert list(said) == ["sim-rater-1", "sim-rater-2", "sim-rater-3", "sim-rater-4"]
    assert sum(r == [0, 1] for r in said["sim-rater-1"]) / n == pytest.approx(0.7, abs=0.04)
    for name, share in panel(settings).items():
        agreed = [a == b for a, b in zip(said[name], said["sim-rater-1"], strict=True)]
        assert sum(agreed) / n == pytest.approx(share, abs=0.04)
    both = [
        (a == t, b == t) for a, b, t in zip(said["sim-rater-2"], said["sim-rater-4"], said["sim-rater-1"], strict=True)
    ]
    assert sum(a and b for a, b in both) / n == pytest.approx(0.84 * 0.1, abs=0.03)  # each errs for himself
    assert {row["source"] for row in rows} == {f"round 1, {SIMULATED}"} and len(rows) == 4 * n
    fewer = panel_labels(asked, [0.7] * n, with_panel(1.0, 0.84), 1)
    assert fewer == rows[: 2 * n]  # who else is on the panel changes nothing
    assert panel_labels(asked, [0.7] * n, settings, 2) != rows


def test_the_panel_reads_the_judge(trained_project: Path) -> None:
    pairs = [Pair(PROMPT, [f"an answer {k}", f"another one {k}"], [0.0, 0.0], at_random=True) for k in range(6)]
    with contextlib.chdir(trained_project):
        settings = params.load(trained_project / "params.yaml")
        rows = simulated_labels(pairs, settings, 1)
        assert rows == simulated_labels(pairs, settings, 1)
    assert [row["annotator_id"] for row in rows[::6]] == list(panel(settings)) and len(rows) == 5 * 6
    assert accuracy(pairs, rows)["at_random"]["n"] == 6


def test_a_quarter_is_at_random_and_the_rest_by_the_rule() -> None:
    apart = [0.0] * 8 + [5.0 - k for k in range(5)] + [0.0] * 7  # what two members say of the difference
    pool = [
        (PROMPT, [f"a{k}", f"b{k}"], torch.tensor([[d, 0.0], [-d, 0.0]]), torch.zeros(2)) for k, d in enumerate(apart)
    ]
    pairs = _chosen(pool, 8, "disagreement", random.Random(0))
    assert [p.at_random for p in pairs] == [True] * 2 + [False] * 6
    assert [p.responses[0] for p in pairs[2:7]] == [f"a{k}" for k in range(8, 13)]
    assert all(p.at_random for p in _chosen(pool, 8, "random", random.Random(0)))


def test_principles_label_what_they_prefer_in_both_orders(trained_project: Path, tmp_path: Path) -> None:
    """A server that prefers the shorter answer: none is shorter in the third pair, and the last is longer than is asked."""
    answers = [["short", "a longer one"], ["a longer one", "short"], ["same", "size"], ["x " * 3000, "short"]]
    pairs = [Pair(PROMPT, both, [0.0, 0.0], at_random=True) for both in answers]
    raw = yaml.safe_load((trained_project / "params.yaml").read_text(encoding="utf-8"))
    listed = tmp_path / "principles.yaml"
    listed.write_text(
        "version: 2\nprinciples:\n- {id: short, text: is short., source: own, reason: a test, approved_by: A. Person}\n"
    )
    with choice_server() as server, contextlib.chdir(trained_project):
        raw["principles"] |= {"file": str(listed), "endpoint": {"url": server.url, "model": "shorter"}}
        labels, said = principle_labels(pairs, params.parse(raw, "params.yaml"), 3)
        assert len(server.seen) == 3 * 2 and all("A good response is short." in q for q in server.asked("shorter"))
    assert [(row["id"], row["ranking"]) for row in labels] == [("round-3-0", [0, 1]), ("round-3-1", [1, 0])]
    assert {row["source"] for row in labels} == {"round 3, principle short"}
    assert (said["version"], said["preferred_by"], said["principles"][0]["rows"]) == (2, "shorter", 2)
    assert accuracy(pairs, labels)["at_random"]["n"] == 2


def test_labels_that_do_not_answer_are_refused_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "round-1.jsonl"
    good = {"prompt": PROMPT, "responses": ["a", "b"], "ranking": [1, 0]}
    file.write_text(json.dumps(good) + "\n" + json.dumps({"prompt": "Why?"}) + "\n", encoding="utf-8")
    with pytest.raises(BadInput, match="line 2: needs prompt, responses and ranking"):
        read_labels(file)
