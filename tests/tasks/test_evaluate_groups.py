"""Figures by group of prompts: of groups that are not too small, and never in place of the whole."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from tasks.evaluate import LEAST_PROMPTS, _by_group


def rows(prompts: list[int], sources: list[str], policy: list[float], sft: list[float]) -> dict[str, dict[str, Any]]:
    """Figures by group of prompts with so many turns, two samples each."""
    turns = [[{"role": "user", "content": "x"}] * n for n in prompts]
    table = pl.DataFrame({"prompt": turns, "source": sources})
    settings = SimpleNamespace(samples_per_prompt=2, level=0.95, bootstrap=200)
    stage: Any = SimpleNamespace(params=SimpleNamespace(evaluate=settings), seed=0)
    judge = {"policy": np.repeat(policy, 2), "sft": np.repeat(sft, 2)}
    return {row["slice"]: row for row in _by_group(stage, table, judge)}


def test_each_group_has_its_own_rate_and_interval() -> None:
    wins = [1.0] * 10 + [0.0] * 10
    found = rows([1] * 10 + [3] * 10, ["a"] * 20, wins, [0.5] * 20)
    assert found.keys() == {"prompts of one turn", "prompts of several turns"}
    assert (found["prompts of one turn"]["value"], found["prompts of several turns"]["value"]) == (1.0, 0.0)
    assert all(
        row["name"] == "win_rate/policy_vs_sft" and row["low"] <= row["value"] <= row["high"] for row in found.values()
    )


def test_sources_are_groups_where_there_are_several_and_small_ones_are_left_out() -> None:
    few = LEAST_PROMPTS - 1
    found = rows([1] * 20, ["a"] * (20 - few) + ["b"] * few, [1.0] * 20, [0.5] * 20)
    assert found.keys() == {"prompts of one turn", "source a"}
