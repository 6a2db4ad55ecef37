"""Stage `curate`: what is trained and tested on after the checks: sides apart, rows weighted, bad ones set aside."""

import json
from typing import Any

import numpy as np
import polars as pl

from governance.digest import write_json, write_jsonl
from governance.errors import GateRefused
from tasks import paths
from tasks.both_ways import AGAINST, TRAINED, both_ways
from tasks.criterion_votes import voted_rows
from tasks.group_votes import by_group, found_names, group_names, without_parents
from tasks.progress import bar
from tasks.rankings import RANKED, complete
from tasks.splits import SIDES
from tasks.stage import Stage, run_stage
from tasks.tables import DERIVED_DEMONSTRATION, write_table

PAIRS = ("reward_train", "judge_train", "reward_test")
PROMPTS = ("ppo_prompts", "eval_prompts")
RELIABILITY = (0.05, 0.95)  # beyond these a single annotator would decide alone


def body(stage: Stage) -> None:
    """Write `data/processed/<side>.parquet`."""
    preferences = pl.read_parquet(stage.input_table(paths.VALID / "preferences.parquet", "curation"))
    demonstrations = pl.read_parquet(stage.input_table(paths.VALID / "demonstrations.parquet", "curation"))
    votes = pl.read_parquet(stage.input_table(paths.VALID / "votes.parquet", "curation"))
    annotators = pl.read_csv(
        stage.input_table(paths.report("annotators") / "annotators.csv", "curation"),
        schema_overrides={"annotator_id": pl.String, "reliability": pl.Float64, "weight": pl.Float64},
    )
    findings = stage.input_table(paths.report("poisoning") / "findings.json", "curation")
    poisoned = {i for f in json.loads(findings.read_text())["findings"] for i in f["row_ids"]}

    aside = [{"id": i, "reason": "quarantined by the poisoning check"} for i in sorted(poisoned)]
    preferences = preferences.filter(~pl.col("id").is_in(list(poisoned)))
    derived = {DERIVED_DEMONSTRATION + i for i in poisoned}
    demonstrations = demonstrations.filter(~pl.col("id").is_in(list(poisoned | derived)))
    weighted, disputed, groups = _weighted(stage, preferences, votes, annotators)
    aside += disputed
    counts = {}
    with bar(len(SIDES), "curate", "side") as progress:
        for side in SIDES:
            counts[side] = _write_side(stage, side, weighted, demonstrations)
            progress.update()
    _refuse_empty(counts)
    write_jsonl(stage.report / "set_aside.jsonl", aside)
    reasons = {r: sum(a["reason"] == r for a in aside) for r in sorted({a["reason"] for a in aside})}
    summary = {"sides": counts, "set_aside": reasons, "weights": _spread(weighted)} | groups
    write_json(stage.report / "summary.json", summary)
    stage.log_metrics({f"rows/{s}": float(n) for s, n in counts.items()} | {"rows/set_aside": float(len(aside))})


def _weighted(
    stage: Stage, preferences: pl.DataFrame, votes: pl.DataFrame, annotators: pl.DataFrame
) -> tuple[pl.DataFrame, list[dict[str, Any]], dict[str, Any]]:
    """(rows with a column `weight`, rows set aside, what the summary says of whoever disagrees)."""
    if stage.params.stakeholders.distribution:
        rows, aside = both_ways(preferences, votes, annotators)
        return rows, aside, {"said_against": int(rows["id"].str.ends_with(AGAINST).sum())}
    own, groups = _by_group(stage, votes, annotators)
    rows, aside = weigh(preferences, pl.concat([votes, own]), annotators)
    return without_parents(rows, groups.get("groups", []), PAIRS), aside, groups


def _by_group(stage: Stage, votes: pl.DataFrame, annotators: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, Any]]:
    """(votes that count for a group of people apart, what the summary says of the groups); nothing of either where
    `stakeholders` has no groups. Groups are found among people whose votes count."""
    asked = stage.params.stakeholders
    if not asked.grouped:
        return votes.clear(), {}
    if isinstance(asked.found, int) and asked.found:
        trusted = votes.join(annotators.filter(pl.col("weight") > 0), on="annotator_id", how="semi")
        named, said = found_names(trusted, asked.found, asked.least_people)
    else:
        people = pl.read_parquet(stage.input_table(paths.PEOPLE, "curation"))
        named, said = group_names(people, str(asked.by), str(stage.params.ingest.annotators)), {}
    own, groups, hidden = by_group(votes, named, asked.least_people, pooled=asked.pooled)
    return own, {"groups": groups, "groups_of_too_few_people": hidden} | said


def weigh(
    preferences: pl.DataFrame, votes: pl.DataFrame, annotators: pl.DataFrame
) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """(rows with a column `weight`, rows set aside).

    The votes on a pair give the posterior p that `chosen` is better: naive Bayes with each annotator's reliability, a
    uniform prior, flagged annotators' votes (weight 0) left out. The row's weight is 2p − 1; a row with p < 1/2 is
    disputed and set aside: nobody's vote is turned round. A row without votes has its own annotator's weight, or 1.
    A ranking that loses a pair loses one of its answers. Votes on a criterion of a pair that no row is about give a row.
    """
    known = annotators.select("annotator_id", pl.col("weight").alias("trust"), pl.col("reliability").clip(*RELIABILITY))
    counted = votes.drop_nulls("choice").join(known, on="annotator_id").filter(pl.col("trust") > 0)
    odds = (pl.col("reliability") / (1 - pl.col("reliability"))).log()
    agrees = (pl.col("choice") == 1) == pl.col("a_is_chosen")
    by_item = counted.group_by("item_id").agg(pl.when(agrees).then(odds).otherwise(-odds).sum().alias("log_odds"))
    rows = preferences.join(by_item, left_on="id", right_on="item_id", how="left", maintain_order="left")
    if "criterion" in rows.columns:
        rows = pl.concat([rows, voted_rows(rows, by_item)])
    own = known.select("annotator_id", "trust")
    rows = rows.join(own, on="annotator_id", how="left", maintain_order="left")
    posterior = 1 / (1 + (-pl.col("log_odds")).exp())
    weight = pl.when(pl.col("log_odds").is_not_null()).then(2 * posterior - 1).otherwise(pl.col("trust").fill_null(1.0))
    rows = rows.with_columns(weight.alias("weight"))
    training = pl.col("side").is_in(TRAINED)
    bad = rows.filter(training & (pl.col("weight") <= 0))
    said = {True: "disputed: the weighted votes contradict the stored label", False: "its annotator is flagged"}
    aside = [{"id": i, "reason": said[o is not None]} for i, o in zip(bad["id"], bad["log_odds"], strict=True)]
    rows = rows.filter(~(training & (pl.col("weight") <= 0)))
    trained, lost = complete(rows.filter(training))
    aside += lost
    kept = rows.filter(~training | pl.col("id").is_in(trained["id"].implode()))
    mean = kept.filter(pl.col("side") == "reward_train")["weight"].mean()
    scale = 1.0 / float(mean) if isinstance(mean, float) and mean > 0 else 1.0
    weight = pl.when(pl.col("side") == "reward_train").then(pl.col("weight") * scale).otherwise(1.0)
    return kept.with_columns(weight.alias("weight")).drop("log_odds", "trust"), aside


def _write_side(stage: Stage, side: str, preferences: pl.DataFrame, demonstrations: pl.DataFrame) -> int:
    rows = preferences.filter(pl.col("side") == side)
    if side == "sft":
        table = demonstrations.select("id", "messages", "source")
    elif side in PROMPTS:
        table = rows.select("id", "prompt", "source").unique("prompt", keep="first", maintain_order=True)
    else:
        said = [name for name in (*RANKED, "criterion") if rows[name].null_count() < rows.height]
        table = rows.select("id", "prompt", "chosen", "rejected", "source", "weight", "margin", *said)
    path = paths.PROCESSED / f"{side}.parquet"
    write_table(table, path)
    stage.output_table(path)
    return table.height


def _refuse_empty(counts: dict[str, int]) -> None:
    empty = [side for side, n in counts.items() if n == 0]
    if empty:
        raise GateRefused(f"no rows are left for {', '.join(empty)}; give more data, or change ingest.shares.")


def _spread(rows: pl.DataFrame) -> dict[str, float]:
    weights = rows.filter(pl.col("side") == "reward_train")["weight"].to_numpy()
    if len(weights) == 0:
        return {}
    points = np.quantile(weights, [0, 0.1, 0.5, 0.9, 1])
    return dict(zip(("min", "p10", "median", "p90", "max"), (round(float(p), 4) for p in points), strict=True))


if __name__ == "__main__":
    run_stage("curate", body)
