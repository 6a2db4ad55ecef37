"""`attestrl check annotators` on odd files: a sensible answer each, or one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from flows.cli import app
from governance.errors import BadInput
from tasks.group_votes import found_names

Check = Callable[..., tuple[dict[str, Any], pl.DataFrame]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Write the votes as Parquet, check them by the command, and give summary and table."""

    def run(
        votes: pl.DataFrame, *arguments: str, golden: pl.DataFrame | None = None
    ) -> tuple[dict[str, Any], pl.DataFrame]:
        votes.write_parquet(tmp_path / "v.parquet")
        if golden is not None:
            golden.write_csv(tmp_path / "g.csv")
            arguments = (*arguments, "--golden", str(tmp_path / "g.csv"))
        command = [
            "check",
            "annotators",
            "--votes",
            str(tmp_path / "v.parquet"),
            "--out",
            str(tmp_path / "out"),
            "--json",
        ]
        done = CliRunner().invoke(app, [*command, *arguments])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        assert (tmp_path / "out/report.html").stat().st_size > 1000
        return json.loads(done.stdout), pl.read_csv(tmp_path / "out/annotators.csv", infer_schema_length=None)

    return run


def crowd(
    people: int = 60, items: int = 600, each: int = 5, seed: int = 0, bad: dict[str, int] | None = None
) -> pl.DataFrame:
    """Honest people who are right on 85 %; the first ones guess or turn answers round. Simulated."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, items)
    who = np.concatenate([rng.choice(people, each, replace=False) for _ in range(items)])
    item = np.repeat(np.arange(items), each)
    accuracy = np.full(people, 0.85)
    accuracy[: (bad or {}).get("inverts", 0)] = 0.1
    right = rng.random(len(who)) < accuracy[who]
    return pl.DataFrame(
        {
            "item_id": [f"i{k}" for k in item],
            "annotator_id": [f"person-{k}@example.org" for k in who],
            "choice": np.where(right, truth[item], 1 - truth[item]).astype(np.int8),
            "truth": truth[item],
        }
    )


@pytest.mark.parametrize("people", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_very_many_annotators_with_one_vote_each(people: int, check: Check) -> None:
    rng = np.random.default_rng(1)
    items = people // 5
    votes = pl.DataFrame(
        {
            "item_id": [f"i{k}" for k in np.repeat(np.arange(items), 5)],
            "annotator_id": [f"w{k}" for k in range(people)],
            "choice": rng.integers(0, 2, people).astype(np.int8),
        }
    )
    said, table = check(votes)
    assert (said["annotators"], said["flagged"]) == (people, 0)
    assert "nobody can be judged" in said["summary"]
    assert set(table["reason"]) == {"too few votes to judge"}
    assert table["low"].max() < 0.9
    assert table["weight"].max() <= 1


def test_one_item(check: Check) -> None:
    votes = pl.DataFrame(
        {"item_id": ["i"] * 30, "annotator_id": [f"w{k}" for k in range(30)], "choice": [1] * 20 + [0] * 10}
    )
    said, _ = check(votes)
    assert said["flagged"] == 0
    assert said["agreement"]["pairwise"]["value"] == pytest.approx((20 * 19 + 10 * 9) / (30 * 29))


def test_all_the_same_answer(check: Check) -> None:
    said, table = check(crowd().with_columns(choice=pl.lit(1, dtype=pl.Int8)))
    assert said["flagged"] == 0
    assert said["agreement"]["krippendorff_alpha"]["value"] == 1.0
    assert table["reliability"].is_between(0, 1).all()


def test_no_golden_set(check: Check) -> None:
    said, table = check(crowd(bad={"inverts": 2}))
    assert said["golden_advice"] is None
    assert "No golden item" in said["summary"]
    assert set(table.filter("flag")["annotator_id"]) == {"person-0@example.org", "person-1@example.org"}


def test_clocks_that_are_wrong(check: Check) -> None:
    """A clock in the next century, one before 1970, one that runs backwards, one that stands still, and no time at all."""
    votes = crowd()
    n = np.arange(votes.height)
    who = votes["annotator_id"].str.extract(r"(\d+)").cast(pl.Int64).to_numpy()
    second = 1_767_600_000 + 40 * n
    second = np.where(who == 0, second + 100 * 365 * 86400, second)
    second = np.where(who == 1, second - 2_000_000_000, second)
    second = np.where(who == 2, second[::-1], second)
    second = np.where(who == 3, 1_767_600_000, second)
    times = pl.Series(second).cast(pl.Int64) * 1000
    text = times.cast(pl.Datetime("ms")).dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    text = text.scatter(np.flatnonzero(who == 4).tolist(), "yesterday")
    said, _ = check(votes.with_columns(created_at=text))
    assert said["flagged"] == 0
    assert said["unreadable_times"] == int((who == 4).sum())
    assert "times could not be read" in said["summary"]


def test_votes_that_come_twice(check: Check) -> None:
    votes = crowd(bad={"inverts": 2})
    again = votes[:100].with_columns(
        choice=pl.when(pl.int_range(100) < 30).then(1 - pl.col("choice")).otherwise("choice")
    )
    once, first = check(votes)
    said, table = check(pl.concat([votes, again.cast({"choice": pl.Int8})]))
    assert (said["repeated_votes"], said["repeated_votes_that_contradict"]) == (100, 30)
    assert said["votes"] == once["votes"] == votes.height
    assert table.drop("score").equals(first.drop("score"))


def test_only_ties_is_one_sentence(check: Check) -> None:
    with pytest.raises(BadInput, match=r"v\.parquet: has no votes with a choice"):
        check(pl.DataFrame({"item_id": ["i", "j"], "annotator_id": ["a", "b"], "choice": ["tie", "tie"]}))


def test_who_says_tie_unlike_the_others_is_looked_at(check: Check) -> None:
    votes = crowd().cast({"choice": pl.String})
    lazy = pl.col("annotator_id") == "person-7@example.org"
    said, table = check(
        votes.with_columns(
            choice=pl.when(lazy & (pl.int_range(pl.len()) % 10 > 0)).then(pl.lit("tie")).otherwise("choice")
        )
    )
    assert said["ties"] > 30
    row = table.row(by_predicate=lazy, named=True)
    assert not row["flag"]
    assert "chooses neither" in row["reason"]


def test_a_minority_that_agrees_is_no_adversary(check: Check) -> None:
    """Twelve of a hundred see one topic the other way round, and are careful elsewhere."""
    votes = crowd(100, 3000, 6, seed=3)
    item = votes["item_id"].str.slice(1).cast(pl.Int64)
    who = votes["annotator_id"].str.extract(r"(\d+)").cast(pl.Int64)
    other = (who < 12) & (item % 5 == 0)
    votes = votes.with_columns(
        topic=pl.format("t{}", item % 5),
        choice=pl.when(other).then(1 - pl.col("choice")).otherwise("choice").cast(pl.Int8),
    )
    golden = votes.filter(item % 50 == 1).select("item_id", gold_choice="truth").unique()
    said, table = check(votes, golden=golden)
    assert said["flagged"] == 0
    (group,) = said["disagreements"]
    assert group["topic"] == "t0"
    assert group["members"] == 12
    assert group["low"] < 0.12 < group["high"]
    assert group["share_of_votes"] == pytest.approx(0.12 / 5, abs=0.01)
    members = table.filter(pl.col("annotator_id").str.extract(r"(\d+)").cast(pl.Int64) < 12)
    assert members["weight"].mean() > 0.3


@pytest.mark.parametrize("golden", [False, True])
@pytest.mark.parametrize(("people", "topics"), [(12, 2), (30, 2), (25, 3)])
def test_a_minority_that_disagrees_on_several_topics_is_no_adversary(
    check: Check, people: int, topics: int, golden: bool
) -> None:
    """Who sees two topics of five otherwise answers like somebody who turns 40 % round, but for the topics."""
    votes = crowd(100, 3000, 6, seed=3)
    item = votes["item_id"].str.slice(1).cast(pl.Int64)
    who = pl.col("annotator_id").str.extract(r"(\d+)").cast(pl.Int64)
    other = (who < people) & (item % 5 < topics)
    guesses = pl.Series(np.random.default_rng(0).integers(0, 2, votes.height))
    own = pl.when(other).then(1 - pl.col("choice")).when(who >= 97).then(guesses).otherwise("choice")
    votes = votes.with_columns(topic=pl.format("t{}", item % 5), choice=own.cast(pl.Int8))
    known = votes.filter(item % 50 == 4).select("item_id", gold_choice="truth").unique()
    said, table = check(votes, golden=known if golden else None)
    assert table.filter("flag").select(who).to_series().sort().to_list() == [97, 98, 99]
    assert [(view["topic"], view["members"]) for view in said["disagreements"]] == [
        (f"t{topic}", people) for topic in range(topics)
    ]
    assert table.filter(who < people)["weight"].mean() > 0.3


def test_an_attack_on_several_topics_that_golden_items_refute(check: Check) -> None:
    votes = crowd(100, 3000, 6, seed=3)
    item = votes["item_id"].str.slice(1).cast(pl.Int64)
    who = pl.col("annotator_id").str.extract(r"(\d+)").cast(pl.Int64)
    own = pl.when((who < 12) & (item % 5 < 2)).then(1 - pl.col("choice")).otherwise("choice")
    votes = votes.with_columns(topic=pl.format("t{}", item % 5), choice=own.cast(pl.Int8))
    golden = votes.filter(item % 12 == 0).select("item_id", gold_choice="truth").unique()
    said, table = check(votes, golden=golden)
    assert said["disagreements"] == []
    assert sorted(table.filter("flag").select(who).to_series()) == list(range(12))


def test_somebody_with_votes_on_a_disputed_topic_alone(check: Check) -> None:
    """Only one topic has a name; who turns everything round is found nevertheless."""
    votes = crowd(100, 3000, 6, seed=3)
    item = votes["item_id"].str.slice(1).cast(pl.Int64)
    who = pl.col("annotator_id").str.extract(r"(\d+)").cast(pl.Int64)
    other = (who < 12) & (item % 5 == 0) | (who >= 97)
    votes = votes.with_columns(
        topic=pl.when(item % 5 == 0).then(pl.lit("t0")),
        choice=pl.when(other).then(1 - pl.col("choice")).otherwise("choice").cast(pl.Int8),
    )
    said, table = check(votes)
    assert [(view["topic"], view["members"]) for view in said["disagreements"]] == [("t0", 12)]
    assert table.filter("flag").select(who).to_series().sort().to_list() == [97, 98, 99]


def test_a_minority_with_a_measure_of_its_own_is_kept_and_found_as_a_group(check: Check) -> None:
    """Twelve of a hundred see half of the items the other way round; golden items are those that all agree on, so that each of
    the twelve looks like somebody who knows them. What the check reports and keeps is the group that has a reward head."""
    votes = crowd(100, 3000, 6, seed=3)
    item = votes["item_id"].str.slice(1).cast(pl.Int64)
    who = pl.col("annotator_id").str.extract(r"(\d+)").cast(pl.Int64)
    votes = votes.with_columns(
        choice=pl.when((who < 12) & (item % 2 == 0)).then(1 - pl.col("choice")).otherwise("choice").cast(pl.Int8)
    )
    golden = votes.filter(item % 50 == 1).select("item_id", gold_choice="truth").unique()
    said, table = check(votes, golden=golden)
    assert said["flagged"] == 0
    (view,) = said["disagreements"]
    assert (view["topic"], view["members"]) == (None, 12)
    trusted = votes.join(table.filter(pl.col("weight") > 0), on="annotator_id", how="semi")
    named, _ = found_names(trusted.with_columns(a_is_chosen=True), 2, 5)
    assert named.filter(group="group-2").filter(who < 12).height == named.filter(group="group-2").height == 12


def test_who_knows_the_golden_items(check: Check) -> None:
    votes = crowd(40, 2000, 5, seed=4)
    item = votes["item_id"].str.slice(1).cast(pl.Int64)
    rng = np.random.default_rng(0)
    cheats = votes["annotator_id"].is_in(["person-0@example.org", "person-1@example.org"])
    guesses = pl.Series(rng.integers(0, 2, votes.height))
    said_by_cheats = pl.when(item % 10 == 0).then("truth").otherwise(guesses)
    votes = votes.with_columns(choice=pl.when(cheats).then(said_by_cheats).otherwise("choice").cast(pl.Int8))
    golden = votes.filter(item % 10 == 0).select("item_id", gold_choice="truth").unique()
    _, table = check(votes, golden=golden)
    flagged = table.filter("flag")
    assert set(flagged["annotator_id"]) == {"person-0@example.org", "person-1@example.org"}
    assert flagged["reason"].str.contains("knows the golden items").all()


def test_groups_and_one_annotator_are_reported_without_names(check: Check, tmp_path: Path) -> None:
    votes = crowd(bad={"inverts": 1})
    golden = votes.filter(pl.col("item_id").str.len_chars() < 4).select("item_id", gold_choice="truth").unique()
    people = (
        votes.select("annotator_id")
        .unique(maintain_order=True)
        .with_row_index()
        .select("annotator_id", country=pl.when(pl.col("index") < 3).then(pl.lit("few")).otherwise(pl.lit("many")))
    )
    people.write_csv(tmp_path / "people.csv")
    said, _ = check(
        votes, "--annotators", str(tmp_path / "people.csv"), "--onboarding", "person-0@example.org", golden=golden
    )
    assert said["demographics"] == [{"attribute": "country", "hidden_groups": 2}]
    told = json.loads((tmp_path / "out/annotator.json").read_text())
    assert told["golden"]["verdict"] == "fails"
    assert told["verdict"].startswith("Not ready")
    for name in ("report.html", "report.json", "summary.json", "annotator.html", "annotator.json"):
        assert "example.org" not in (tmp_path / "out" / name).read_text()
    with pytest.raises(BadInput, match="no vote is by this annotator"):
        check(votes, "--onboarding", "nobody")
