"""Rankings through the table of pairs: what keeps them whole, and what is left of one that lost pairs."""

from itertools import combinations
from typing import Any

import polars as pl
import pytest

from governance.errors import BadInput
from tasks.curate import weigh
from tasks.rankings import complete, rankings_of
from tests.tasks.test_curate import ANNOTATORS, votes


def say(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def pairs(name: str, ways: int, lost: set[tuple[int, int]] = frozenset()) -> list[dict[str, Any]]:
    """Rows of a ranking of `ways` answers, less the pairs `lost`."""
    return [
        {
            "id": f"{name}:{i}-{j}",
            "prompt": [{"role": "user", "content": name}],
            "chosen": say(f"{name} {i}"),
            "rejected": say(f"{name} {j}"),
            "weight": 1.0 + i,
            "margin": None,
            "ranking_id": name,
            "chosen_rank": i,
            "rejected_rank": j,
        }
        for i, j in combinations(range(ways), 2)
        if (i, j) not in lost
    ]


def table(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(
        rows, schema_overrides={"margin": pl.Float64, "ranking_id": pl.String}, infer_schema_length=None
    )


def alone(name: str) -> dict[str, Any]:
    return pairs(name, 2)[0] | {"ranking_id": None, "chosen_rank": None, "rejected_rank": None}


@pytest.mark.parametrize(
    ("lost", "left"),
    [
        (set(), {0, 1, 2, 3}),
        ({(0, 1), (0, 2), (0, 3)}, {1, 2, 3}),  # every pair of one answer
        ({(1, 3)}, {0, 1, 2}),  # of two that lost as many, the worse leaves
        ({(0, 1), (0, 2)}, {1, 2, 3}),
        ({(0, 1), (2, 3)}, {0, 2}),
        ({(0, 1), (0, 2), (0, 3), (1, 2), (1, 3)}, {2, 3}),
    ],
)
def test_what_is_left_of_a_ranking_is_whole(lost: set[tuple[int, int]], left: set[int]) -> None:
    rows = [alone("a"), *pairs("r", 4, lost), *pairs("s", 3), alone("b")]
    kept, aside = complete(table(rows))
    found = kept.filter(pl.col("ranking_id") == "r")
    assert set(zip(found["chosen_rank"], found["rejected_rank"], strict=True)) == set(combinations(sorted(left), 2))
    assert sorted([*kept["id"], *(a["id"] for a in aside)]) == sorted(row["id"] for row in rows)
    assert [i for i in kept["id"] if not i.startswith("r")] == ["a:0-1", "s:0-1", "s:0-2", "s:1-2", "b:0-1"]
    whole = next(r for r in rankings_of(kept, "t") if r.prompt[0]["content"] == "r")
    assert [a[0]["content"] for a in whole.answers] == [f"r {i}" for i in sorted(left)]
    assert whole.weights == [1.0 + i for i, _ in combinations(sorted(left), 2)]


def test_pairs_and_rankings_stand_in_their_order_whatever_the_rows_do() -> None:
    rows = [alone("a"), *reversed(pairs("r", 3)), alone("b")]
    found = rankings_of(table(rows), "t")
    assert [r.prompt[0]["content"] for r in found] == ["a", "r", "b"]
    assert [len(r.answers) for r in found] == [2, 3, 2]
    assert [a[0]["content"] for a in found[1].answers] == ["r 0", "r 1", "r 2"]
    without = table(rows).drop("ranking_id", "chosen_rank", "rejected_rank")
    assert [len(r.answers) for r in rankings_of(without, "t")] == [2] * 5


def test_a_ranking_that_lacks_pairs_is_refused() -> None:
    with pytest.raises(BadInput, match=r"^t: the ranking r lacks pairs of its answers; run again from curate"):
        rankings_of(table(pairs("r", 3, {(0, 2)})), "t")


def test_a_disputed_pair_takes_one_answer_out_of_its_ranking() -> None:
    rows = table(pairs("r", 3)).with_columns(side=pl.lit("reward_train"), annotator_id=pl.lit(None, dtype=pl.String))
    cast = votes([("r:0-1", "good", 1), ("r:0-2", "good", 0), ("r:1-2", "fair", 1)])
    kept, aside = weigh(rows.drop("weight"), cast, ANNOTATORS)
    assert kept["id"].to_list() == ["r:0-1"]
    assert {a["id"]: a["reason"].split(":")[0] for a in aside} == {
        "r:0-2": "disputed",
        "r:1-2": "its ranking lost pairs, and with them this one's answer",
    }
    assert kept["weight"].to_list() == pytest.approx([1.0])
    held_out, _ = weigh(rows.drop("weight").with_columns(side=pl.lit("reward_test")), cast, ANNOTATORS)
    assert held_out.height == 3  # what is tested on keeps every pair
