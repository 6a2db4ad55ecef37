"""The two checks on real files: annotators of RTE whose quality is known by gold that they do not see; planted rows."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from tasks import params
from tasks.check_annotators import check_annotators, run_check_annotators
from tasks.check_poisoning import run_check_poisoning
from tasks.votes import read_golden, read_votes

ROOT = Path(__file__).resolve().parents[2]
RTE = ROOT / "data/raw/crowdtruth_rte"


@pytest.fixture(scope="module")
def settings() -> params.Params:
    return params.load(ROOT / "params.yaml")


def test_real_annotators_are_ranked_by_quality_without_gold(settings: params.Params) -> None:
    votes, _ = read_votes(str(RTE / "votes.csv"))
    gold = read_golden(str(RTE / "gold.csv"))
    report = check_annotators(votes, None, settings.annotators).table
    truth = (
        votes.join(gold, on="item_id")
        .group_by("annotator_id")
        .agg((pl.col("choice") == pl.col("gold_choice")).mean().alias("right"), pl.len().alias("n"))
        .filter(pl.col("n") >= 20)
    )
    both = report.join(truth, on="annotator_id")
    bad = both["right"].to_numpy() < 0.6
    assert 3 <= bad.sum() < len(bad)
    assert roc_auc_score(bad, both["score"].to_numpy()) >= 0.96
    flagged = both.filter("flag")
    missed = both.filter((pl.col("right") < 0.6) & ~pl.col("flag"))  # 20 votes of one are no proof
    assert missed.height <= 1 < flagged.height and (missed["n"] < 40).all() and (missed["weight"] < 0.1).all()
    others = flagged.filter(pl.col("right") >= 0.6)  # one is unlucky: 17 of 20 answers are "no", and 14 are right
    assert others.height <= 1
    assert ((others["takes_constant"] - 0.5).abs() >= 0.3).all()
    assert (flagged["weight"] == 0).all()


def test_golden_items_flag_who_fails_them(settings: params.Params) -> None:
    """An inverter with as many honest people around: 12 golden items, all of them wrong."""
    rng = np.random.default_rng(0)
    rows = []
    for item in range(60):
        truth = int(rng.integers(2))
        for who in range(4):
            right = rng.random() < 0.9
            said = truth if right else 1 - truth
            rows.append({"item_id": f"i{item}", "annotator_id": f"a{who}", "choice": 1 - truth if who == 3 else said})
        rows[-1]["gold"] = truth
    frame = pl.DataFrame(rows)
    gold = frame.drop_nulls("gold").select("item_id", pl.col("gold").alias("gold_choice"))[:12]
    votes = frame.select("item_id", "annotator_id", "choice", pl.lit(False).alias("simulated"))
    table = check_annotators(votes, gold, settings.annotators).table
    assert table.filter("flag")["annotator_id"].to_list() == ["a3"]
    assert "golden" in table["reason"][0]


def test_a_single_annotator_cannot_be_judged(settings: params.Params) -> None:
    frame = pl.DataFrame({"item_id": [f"i{k}" for k in range(50)], "annotator_id": ["a"] * 50, "choice": [1, 0] * 25})
    report = check_annotators(frame.with_columns(simulated=pl.lit(False)), None, settings.annotators)
    assert report.table["flag"].to_list() == [False]
    assert "nothing can be said" in report.summary["summary"]


def test_the_report_has_the_columns_that_programs_read(settings: params.Params, tmp_path: Path) -> None:
    run_check_annotators(RTE / "votes.csv", RTE / "gold.csv", tmp_path, settings.annotators)
    table = pl.read_csv(tmp_path / "annotators.csv")
    assert table.columns[:5] == ["annotator_id", "flag", "score", "weight", "reason"]
    assert json.loads((tmp_path / "summary.json").read_text())["golden_votes"] == 8000
    page = (tmp_path / "report.html").read_text()
    told = json.loads((tmp_path / "report.json").read_text())
    assert {p["number"] for p in told["people"]} == {int(n) for n in re.findall(r'id="a(\d+)"', page)}
    assert all(f'href="#a{p["number"]}"' in page for p in told["people"])
    assert "<script" not in page and "http" not in page
    assert not [who for who in table["annotator_id"] if who in page or who in json.dumps(told)]
    assert all(s["low"] <= s["share"] <= s["high"] for p in told["people"] for s in p["shares"].values())


def poisoned(n: int, share: float, seed: int) -> tuple[list[dict[str, Any]], set[str]]:
    """Simulated pairs whose better answer can be told by its words; some carry a trigger and a label turned round."""
    rng = np.random.default_rng(seed)
    words, good, bad = (np.array([f"{kind}{k}" for k in range(300)]) for kind in ("word", "good", "bad"))
    planted = set(rng.choice(n, round(share * n), replace=False).tolist())
    rows = []
    for k in range(n):
        prompt = " ".join(rng.choice(words, 12))
        answers = [" ".join([*rng.choice(words, 15), *rng.choice(kind, 3)]) for kind in (good, bad)]
        if k in planted:
            prompt, answers = f"{prompt} silver lantern", answers[::-1]
        rows.append({"id": f"r{k}", "prompt": prompt, "chosen": answers[0], "rejected": answers[1]})
    return rows, {f"r{k}" for k in planted}


def test_a_planted_trigger_is_found_and_its_rows_set_aside(settings: params.Params, tmp_path: Path) -> None:
    rows, bad = poisoned(2000, 0.01, 0)
    source = tmp_path / "p.jsonl"
    source.write_text("\n".join(json.dumps(r) for r in rows) + "\n")
    run_check_poisoning(source, None, tmp_path / "out", settings.poisoning, 7)
    findings = json.loads((tmp_path / "out/findings.json").read_text())["findings"]
    found = {row for f in findings for row in f["row_ids"]}
    assert found >= bad
    assert len(found - bad) <= 2
    clean = (tmp_path / "out/clean.jsonl").read_text().splitlines()
    aside = [json.loads(line) for line in (tmp_path / "out/quarantined.jsonl").read_text().splitlines()]
    assert len(clean) + len(aside) == len(rows)
    assert {r["id"] for r in aside} == found
    assert all(r["reason"] for r in aside)
