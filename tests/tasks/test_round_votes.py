"""Labels of a round on their way through the next run: who said what is kept, judged and weighed."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from governance.errors import BadInput
from tasks import params, paths
from tasks.round_votes import read_round
from tasks.rounds import SIMULATED, Pair, panel_labels, questions
from tasks.splits import side_of, split_keys
from tests.conftest import run_stage_in

ROOT = Path(__file__).resolve().parents[2]
KEY = b"0" * 32
WORDS = ("river", "stone", "paper", "glass", "cloud", "bread", "chair", "light", "music", "grass", "metal", "sugar")
N = 64


def write(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def said(k: int, ranking: list[int], who: str | None, **more: Any) -> dict[str, Any]:
    row = {"id": f"round-1-{k}", "prompt": "Why?", "responses": [f"a{k}", f"longer b{k}"], "ranking": ranking}
    return row | ({"annotator_id": who} if who else {}) | more


def test_a_pair_has_one_row_and_each_rater_a_vote_on_it(tmp_path: Path) -> None:
    rows = [
        said(0, [0, 1], "sim-rater-1"),
        said(0, [1, 0], "Anna", shown_order=[1, 0], reason="clearer"),
        said(0, [1, 0], "sim-rater-3"),
        said(1, [0, 1], "Anna"),
        said(1, [1, 0], "sim-rater-1"),
        said(2, [1, 0], None, source="round 1, principle short"),
    ]
    pairs, votes, others = read_round(str(write(tmp_path / "round-1.jsonl", rows)), KEY, frozenset(), lambda _: None)
    assert pairs["id"].to_list() == ["round-1-0:0-1", "round-1-1:0-1"]
    assert [m[0]["content"] for m in pairs["chosen"]] == ["longer b0", "a1"]  # what most say; of a tie, the first
    anna = pairs["annotator_id"][0]
    assert anna.startswith("p-") and pairs["reason"][0] == "clearer" and pairs["ranking_id"].null_count() == 2
    assert votes.select("item_id", "annotator_id", "choice", "a_is_chosen", "simulated").rows() == [
        ("round-1-0:0-1", "sim-rater-1", 1, False, True),
        ("round-1-0:0-1", anna, 0, False, False),
        ("round-1-0:0-1", "sim-rater-3", 0, False, True),
        ("round-1-1:0-1", anna, 1, True, False),
        ("round-1-1:0-1", "sim-rater-1", 0, True, True),
    ]
    assert votes["a_first"].to_list() == [None, False, None, None, None] and votes["len_b"][0] == len("longer b0")
    assert others["source"].to_list() == ["round 1, principle short"]

    pairs, votes, _ = read_round(str(tmp_path / "round-1.jsonl"), KEY, frozenset({anna}), lambda _: None)
    assert pairs["annotator_id"].to_list() == ["sim-rater-1"] * 2 and votes["simulated"].all() and votes.height == 3


def test_a_label_with_a_rater_and_no_item_is_refused_with_its_line(tmp_path: Path) -> None:
    rows = [said(0, [0, 1], "anna"), {k: v for k, v in said(1, [0, 1], "anna").items() if k != "id"}]
    with pytest.raises(BadInput, match=r"round-1.jsonl: line 2: has no item_id"):
        read_round(str(write(tmp_path / "round-1.jsonl", rows)), KEY, frozenset(), lambda _: None)


def asked(settings: params.Params) -> list[Pair]:
    """Pairs about as many subjects, whose prompts stand on the side that rounds ask about."""
    found, k = [], 0
    while len(found) < N:
        prompt = [{"role": "user", "content": f"Tell me about {WORDS[k % 12]} and {WORDS[k // 12 % 12]}, part {k}."}]
        if side_of(split_keys(pl.Series([prompt]))[0], settings.ingest.shares) == "reward_train":
            answers = [f"{WORDS[(5 * k + j) % 12]} {WORDS[(7 * k + j) % 12]} number {k * 2 + j}" for j in range(2)]
            found.append(Pair(prompt, answers, [0.0, 0.0], at_random=True))
        k += 1
    return found


@pytest.fixture
def project(tmp_path: Path, hh_rows: list[dict[str, Any]]) -> Path:
    """Real pairs with votes of the simulated crowd, and a round that a panel labelled of whom the last one inverts. The
    better answer is the first of every other pair."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    raw["ingest"] |= {"preferences": "pairs.jsonl", "audits": {}}
    raw["rounds"]["panel"] = [0.84, 0.84, 0.84, 0.84, 0.16]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    write(tmp_path / "pairs.jsonl", hh_rows)
    settings = params.parse(raw, "params.yaml")
    rows = panel_labels(questions(asked(settings), 1), [float(k % 2) for k in range(N)], settings, 1)
    write(tmp_path / paths.ROUNDS / "round-1.jsonl", rows)
    return tmp_path


def test_the_next_run_finds_who_of_the_panel_inverts(project: Path) -> None:
    for stage in ("ingest", "validate", "annotators", "poisoning", "curate"):
        run_stage_in(project, stage)
    judged = pl.read_csv(project / "data/reports/annotators/annotators.csv")
    of_panel = {row["annotator_id"]: row for row in judged.iter_rows(named=True) if "rater" in row["annotator_id"]}
    assert {name: row["flag"] for name, row in of_panel.items()} == {f"sim-rater-{k}": k == 5 for k in range(1, 6)}
    assert of_panel["sim-rater-5"]["weight"] == 0 and of_panel["sim-rater-5"]["reliability"] < 0.35
    assert all(row["n_votes"] == N and row["simulated"] for row in of_panel.values())

    votes = pl.read_parquet(project / paths.VALID / "votes.parquet").filter(pl.col("item_id").str.starts_with("round"))
    assert votes.group_by("item_id").len()["len"].to_list() == [5] * N  # of nobody else
    better = [p.responses[1 - k % 2] for k, p in enumerate(asked(params.load(project / "params.yaml")))]
    most, trained = (
        pl.read_parquet(project / file).filter(pl.col("source") == f"round 1, {SIMULATED}")
        for file in (paths.INGESTED / "preferences.parquet", "data/processed/reward_train.parquet")
    )
    wrong, left = (sum(answer[0]["content"] not in better for answer in table["chosen"]) for table in (most, trained))
    assert 2 * left < wrong  # pairs that the inverter decided are set aside
    assert trained.height >= 0.75 * most.height == 0.75 * N
    assert trained["weight"].max() > 2 * trained["weight"].min()  # as surely as the votes say it


def test_labels_of_one_reviewer_are_trained_on_where_nobody_else_votes(project: Path) -> None:
    labels = project / paths.ROUNDS / "round-1.jsonl"
    rows = [json.loads(line) for line in labels.read_text(encoding="utf-8").splitlines()]
    write(labels, [row | {"annotator_id": "A. Person"} for row in rows if row["annotator_id"] == "sim-rater-1"])
    run_stage_in(project, "ingest", ingest={"panel": None})
    for stage in ("validate", "annotators", "poisoning", "curate"):
        run_stage_in(project, stage)
    (person,) = pl.read_csv(project / "data/reports/annotators/annotators.csv").iter_rows(named=True)
    assert person["annotator_id"].startswith("p-") and not person["flag"] and not person["simulated"]
    trained = pl.read_parquet(project / "data/processed/reward_train.parquet")
    weights = trained.filter(pl.col("source").str.starts_with("round 1"))["weight"]
    assert len(weights) == N and weights.min() > 0.5 * trained["weight"].max()


def test_simulated_raters_are_marked_beside_people(project: Path) -> None:
    people = [
        {"item_id": f"i{k}", "annotator_id": f"person {who}", "choice": int(k % 3 == 0) ^ int(k % 7 == who)}
        for k in range(40)
        for who in range(4)
    ]
    pairs = [
        {"id": f"i{k}", "prompt": f"Question {k}?", "chosen": f"yes, {k}", "rejected": f"no, {k} is not"}
        for k in range(40)
    ]
    write(project / "votes.jsonl", people)
    write(project / "more.jsonl", pairs)
    run_stage_in(project, "ingest", ingest={"preferences": "more.jsonl", "votes": "votes.jsonl"})
    for stage in ("validate", "annotators"):
        run_stage_in(project, stage)
    judged = pl.read_csv(project / "data/reports/annotators/annotators.csv")
    simulated = judged.filter("simulated")["annotator_id"]
    assert sorted(simulated) == [f"sim-rater-{k}" for k in range(1, 6)] and judged.height == 9
    summary = json.loads((project / "data/reports/annotators/summary.json").read_text(encoding="utf-8"))
    assert summary["summary"].startswith("9 annotators (5 simulated) gave ")
    page = (project / "data/reports/annotators/report.html").read_text(encoding="utf-8")
    assert "The votes of 5 annotators are simulated." in page
    facts = json.loads((project / "data/reports/ingest/summary.json").read_text(encoding="utf-8"))["tables"]["votes"]
    assert (facts["rows"], facts["of_rounds"]) == (160 + 5 * N, 5 * N)
