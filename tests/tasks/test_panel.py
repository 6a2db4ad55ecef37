"""The simulated panel: marked as simulated, behaves as configured, and one pair's votes depend on that pair alone."""

import polars as pl
import pytest

from tasks.panel import behaviours, simulate
from tasks.params import Panel

PANEL = Panel(annotators=40, votes_per_item=5, accuracy=0.82, inverted=0.05, random=0.05, golden_share=0.05)


@pytest.fixture(scope="module")
def pairs() -> pl.DataFrame:
    side = [[{"role": "assistant", "content": "text"}]] * 3000
    return pl.DataFrame({"id": [f"p{k}" for k in range(3000)], "chosen": side, "rejected": side})


def test_everything_says_that_it_is_simulated(pairs: pl.DataFrame) -> None:
    votes, golden = simulate(pairs, PANEL, 7)
    assert votes["simulated"].all()
    assert golden["simulated"].all()
    assert votes["annotator_id"].str.starts_with("sim-").all()


def test_annotators_behave_as_configured(pairs: pl.DataFrame) -> None:
    votes, golden = simulate(pairs, PANEL, 7)
    assert votes.height == 5 * 3000
    assert 0.03 < golden.height / 3000 < 0.07
    kinds = {name: kind for name, kind, _ in behaviours(PANEL, 7)}
    assert list(kinds.values()).count("inverted") == list(kinds.values()).count("random") == 2
    agrees = (votes["choice"] == 1) == votes["a_is_chosen"]
    kind = votes["annotator_id"].replace_strict(kinds)
    share = {k: agrees.filter(kind == k).mean() for k in ("honest", "inverted", "random")}
    assert share["honest"] == pytest.approx(0.82, abs=0.03)
    assert share["inverted"] < 0.35
    assert share["random"] == pytest.approx(0.5, abs=0.06)


def test_votes_on_a_pair_depend_on_that_pair_alone(pairs: pl.DataFrame) -> None:
    every, _ = simulate(pairs, PANEL, 7)
    some, _ = simulate(pairs[100:200], PANEL, 7)
    assert every.filter(pl.col("item_id").is_in(some["item_id"].unique().implode())).equals(some)
    assert not simulate(pairs[:50], PANEL, 8)[0].equals(every[:250])
