"""How far one reward serves each group of real raters: python -m benchmarks.real_raters --votes F.csv --texts F.csv [--by nationality]
[--least 20] [--seeds 5 --first-seed 0]; one JSON line.

Votes: ID, annotator_id, annotation (1 or 0, else left out) and columns about people; texts: ID and Text. CREHate's
`CREHate_raw_annotations.csv` and `CREHate_final_annotations.csv` (Lee et al. 2024, whether a post is hate speech) are such files; they are for
evaluation, and not part of this project. Nobody's id is printed.

people: how often a vote is what most of three other raters of the same post say, drawn from the voter's own group, or from all other
groups. text: heads on tf-idf of the post, trained on three fourths of the posts and asked about votes on the others: `one`, on everybody's votes;
`own`, on the group's; `as_many`, on as many of everybody's votes as the group has. Every seed draws raters, posts and votes; intervals are
Student's over the seeds. found: two groups by the votes alone (tasks/stats/found_groups.py), and who is in them.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.machine import described
from benchmarks.seeds import interval
from tasks.stats.found_groups import found_groups

OTHERS, HELD_OUT, PENALTY, SURE = 3, 4, 0.1, 0.9
Figures = dict[str, float]


def read(votes: Path, texts: Path, by: str, least: int) -> tuple[pl.DataFrame, list[str]]:
    """(votes: `person` and `post` as codes, `group` and `choice`; the posts' texts). Groups of fewer people than `least` are left out."""
    every = pl.read_csv(votes, infer_schema_length=None, columns=["ID", "annotator_id", by, "annotation"])
    every = (
        every.filter(pl.col("annotation").is_in([0, 1]))
        .drop_nulls()
        .unique(["ID", "annotator_id"], keep="first", maintain_order=True)
    )
    large = every.group_by(by).agg(pl.col("annotator_id").n_unique().alias("people")).filter(pl.col("people") >= least)
    words = pl.read_csv(texts, infer_schema_length=0, columns=["ID", "Text"]).unique(
        "ID", keep="first", maintain_order=True
    )
    words = words.with_row_index("post")
    kept = every.join(large, on=by, how="semi").join(words, on="ID", how="inner", maintain_order="left")
    code = pl.col("annotator_id").rank("dense") - 1
    return kept.select(code.alias("person"), "post", pl.col(by).alias("group"), choice="annotation"), words[
        "Text"
    ].to_list()


def by_people(votes: pl.DataFrame, seed: int) -> Figures:
    """Share of votes that three others agree with, by group and by where the three are from."""
    rng = np.random.default_rng([seed, 0])
    group, choice = votes["group"].to_numpy(), votes["choice"].to_numpy()
    agreed: dict[tuple[str, str], list[bool]] = {}
    for rows in votes.with_row_index("row").group_by("post", maintain_order=True).agg("row")["row"]:
        on = rows.to_numpy()
        for k in on:
            own, other = on[(group[on] == group[k]) & (on != k)], on[group[on] != group[k]]
            if min(len(own), len(other)) < OTHERS:
                continue
            for name, some in (("own", own), ("others", other)):
                most = choice[rng.choice(some, OTHERS, replace=False)].sum() > OTHERS / 2
                agreed.setdefault((group[k], name), []).append(bool(most == choice[k]))
    mean = {f"people/{g}/{name}": float(np.mean(values)) for (g, name), values in agreed.items()}
    groups = sorted({g for g, _ in agreed})
    return mean | {f"people/{g}/own_minus_others": mean[f"people/{g}/own"] - mean[f"people/{g}/others"] for g in groups}


def by_text(votes: pl.DataFrame, texts: list[str], seed: int) -> Figures:
    """Share of votes on held-out posts that each head is right about, by group."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    rng = np.random.default_rng([seed, 1])
    held = np.isin(votes["post"].to_numpy(), rng.permutation(len(texts))[: len(texts) // HELD_OUT])
    x = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2)).fit_transform(texts)
    train, test = votes.filter(~held), votes.filter(held)
    one = _head(x, train)
    found: Figures = {}
    for (name,), asked in sorted(test.group_by("group"), key=lambda item: item[0]):
        own = train.filter(pl.col("group") == name)
        as_many = train[np.sort(rng.permutation(train.height)[: own.height])]
        right = {
            kind: float(
                np.mean((head.decision_function(x[asked["post"].to_numpy()]) > 0) == asked["choice"].to_numpy())
            )
            for kind, head in (("one", one), ("own", _head(x, own)), ("as_many", _head(x, as_many)))
        }
        right |= {f"own_minus_{other}": right["own"] - right[other] for other in ("one", "as_many")}
        found |= {f"text/{name}/{kind}": value for kind, value in right.items()}
    served = [found[f"text/{name}/one"] for name in votes["group"].unique()]
    return found | {"text/one_best_minus_worst_group": max(served) - min(served)}


def _head(x: Any, votes: pl.DataFrame) -> Any:
    """Logistic regression on votes, which are counted by post and choice."""
    from sklearn.linear_model import LogisticRegression

    rows = votes.group_by("post", "choice").len().sort("post", "choice")
    model = LogisticRegression(C=PENALTY, max_iter=500)
    return model.fit(x[rows["post"].to_numpy()], rows["choice"].to_numpy(), rows["len"].to_numpy())


def found(votes: pl.DataFrame) -> dict[str, Any]:
    """Two groups by the votes alone: their gain, and what share of each declared group is in the second for sure."""
    person = votes["person"].to_numpy()
    groups = found_groups(person, votes["post"].to_numpy(), votes["choice"].to_numpy(), 2)
    people = votes.select("person", "group").unique("person").sort("person").with_columns(
        second=pl.Series(groups.member[:, 1] >= SURE), sure=pl.Series(groups.member.max(axis=1) >= SURE)
    )  # fmt: skip
    said = votes.join(people.filter("sure"), on="person").group_by("second").agg(pl.col("choice").mean())
    share = people.filter("sure").group_by("group").agg(pl.col("second").mean()).sort("group")
    return {
        "gain_nats_per_vote": round(groups.gain, 4),
        "sure": round(float(people["sure"].mean() or 0), 4),  # type: ignore[arg-type]
        "in_the_second": {name: round(value, 4) for name, value in share.rows()},
        "share_of_ones": {"second" if second else "first": round(value, 4) for second, value in said.rows()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--votes", type=Path, required=True)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--by", default="nationality", help="column of the votes")
    parser.add_argument("--least", type=int, default=20, help="people of a group")
    parser.add_argument("--seeds", type=int, default=5, help="at least two")
    parser.add_argument("--first-seed", type=int, default=0)
    asked = parser.parse_args()
    votes, texts = read(asked.votes, asked.texts, asked.by, asked.least)
    seeds = list(range(asked.first_seed, asked.first_seed + asked.seeds))
    runs = [by_people(votes, seed) | by_text(votes, texts, seed) for seed in seeds]
    figures = {name: interval([run[name] for run in runs]) for name in runs[0]}
    people = votes.group_by("group").agg(pl.col("person").n_unique(), pl.len()).sort("group")
    given = {"by": asked.by, "seeds": seeds, "votes": votes.height, "posts": votes["post"].n_unique()}
    given |= {"people": {name: n for name, n, _ in people.rows()}}
    print(json.dumps({"benchmark": "real_raters", **given, "figures": figures, "found": found(votes), **described()}))


if __name__ == "__main__":
    main()
