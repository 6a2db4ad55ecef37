"""Welfare by group, and what other rules would have chosen."""

import numpy as np
import pytest

from tasks.evals.welfare import group_welfare, other_choices

DRAWN = {"level": 0.95, "resamples": 400, "seed": 0}


def test_means_of_groups_and_of_the_worst() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal([0.5, 0.0, 1.0], 0.5, (200, 3))
    each, worst = group_welfare(scores, 2, **DRAWN)
    assert [r.value for r in each] == pytest.approx(scores.mean(0).tolist())
    assert worst.value == pytest.approx(scores[:, 1].mean())
    for rate in (*each, worst):
        assert rate.low < rate.value < rate.high
        assert rate.n == 200


def test_the_interval_of_the_worst_knows_that_it_may_be_another() -> None:
    """Of two groups that are alike in the mean, the worst of a draw is below both."""
    scores = np.random.default_rng(1).normal(0, 1, (100, 2))
    each, worst = group_welfare(scores, 1, **DRAWN)
    assert worst.high < max(r.high for r in each)


def test_prompts_on_which_a_rule_chooses_another_response() -> None:
    # two responses to each of three prompts, two groups: the first response pleases the majority, the second both a little
    scores = np.array([[3.0, -3.0], [0.5, 0.5], [1.0, 1.0], [0.0, 0.0], [2.0, -2.0], [0.2, 0.1]])
    found = other_choices(scores, [0.8, 0.2], 2, "utilitarian", 0.25, 0.95)
    assert found.keys() == {"maximin", "nash", "quantile"}
    assert found["maximin"].value == pytest.approx(2 / 3)
    assert found["maximin"].low < 2 / 3 < found["maximin"].high
    assert other_choices(scores[2:4], [0.8, 0.2], 2, "utilitarian", 0.25, 0.95)["maximin"].value == 0
