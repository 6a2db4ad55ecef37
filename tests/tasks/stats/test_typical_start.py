"""Crowds in which most pairs of votes disagree, because somebody turns answers round."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tasks import params
from tasks.annotator_findings import find
from tasks.polls import poll
from tasks.stats.ballots import Ballots
from tasks.stats.response_model import GRID
from tasks.stats.typical_start import typical_start

ROOT = Path(__file__).resolve().parents[3]


def votes(right: list[float], items: int, seed: int, golden: int = 0) -> Ballots:
    """Everybody votes on every item, and is right as often as said; SIMULATED."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, items)
    said = np.where(rng.random((len(right), items)) < np.array(right)[:, None], truth, 1 - truth)
    who, item = np.indices(said.shape)
    table = pl.DataFrame({"item_id": item.ravel(), "annotator_id": who.ravel(), "choice": said.ravel()})
    table = table.with_columns(
        pl.format("i{}", "item_id").alias("item_id"), pl.format("a{}", "annotator_id").alias("annotator_id")
    )
    known = pl.DataFrame({"item_id": [f"i{i}" for i in range(golden)], "gold_choice": truth[:golden]})
    return poll([table], known if golden else None).ballots


@pytest.mark.parametrize("right", [[0.9, 0.9, 0.1], [0.85, 0.85, 0.85, 0.15, 0.15], [0.8] * 6 + [0.2] * 5])
def test_the_fewer_who_turn_answers_round_are_flagged_and_not_the_others(right: list[float]) -> None:
    settings = params.load(ROOT / "params.yaml").annotators
    for seed in range(5):
        found = find(votes(right, 64, seed), settings)
        assert found.flag.tolist() == [share < 0.5 for share in right], seed


def turned_at_first(ballots: Ballots) -> np.ndarray:
    return typical_start(ballots, GRID)[0]


def test_nobody_is_taken_to_turn_answers_round_where_coins_would_agree_as_often() -> None:
    assert turned_at_first(votes([0.9, 0.9, 0.1], 64, 0)).tolist() == [False, False, True]
    assert not turned_at_first(votes([0.9, 0.9, 0.6], 64, 0)).any()
    assert not turned_at_first(votes([0.9, 0.9, 0.1], 64, 0, golden=8)).any()  # golden items say it
    assert not turned_at_first(votes([0.9], 64, 0)).any()
