"""The stage `reward` with an oversight protocol: what it leaves, and what the models learn from it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from governance.digest import sha256_bytes, sha256_path
from governance.errors import BadInput
from tests.conftest import ROOT, run_stage_in
from tests.tasks.oversight_server import POINTED, oversight_server

ON = {
    "protocol": "debate",
    "pairs": 12,
    "audit": 6,
    "turns": 1,
    "max_tokens": 900,
    "max_new_tokens": 8,
    "problems": str(ROOT / "data/raw/gsm8k/train.jsonl.gz"),
    "deductions": str(ROOT / "data/raw/evals/logical_deduction/questions.jsonl"),
}
PAIRS = "data/interim/oversight_pairs.parquet"
TRANSCRIPTS = "data/reports/reward/oversight_transcripts.jsonl"


def made(project: Path, folder: Path, **changes: Any) -> tuple[Path, dict[str, Any]]:
    """(project, record of `reward`) with the protocol on."""
    copy = shutil.copytree(project, folder / "project")
    return copy, run_stage_in(copy, "reward", oversight=ON | changes)


@pytest.fixture(scope="module")
def debated(trained_project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    return made(trained_project, tmp_path_factory.mktemp("oversight"))


def test_every_pair_knows_what_the_judge_read(debated: tuple[Path, dict[str, Any]]) -> None:
    folder, record = debated
    table, note = pl.read_parquet(folder / PAIRS), record["notes"]["oversight"]
    assert table.height == note["pairs"] > 0 and table.height + sum(note["set_aside"].values()) == 12
    assert set(table["protocol"]) == {"debate"} and set(table["source"]) == {"oversight"}
    np.testing.assert_allclose(table["weight"], 2 * table["probability"] - 1)
    lines = {sha256_bytes(line): json.loads(line) for line in (folder / TRANSCRIPTS).read_bytes().splitlines()}
    for row in table.iter_rows(named=True):
        read = lines[row["transcript_sha256"]]
        assert read["id"] == row["id"] and read["right"] is None
        answers = [row[side][0]["content"] for side in ("chosen", "rejected")]
        assert read["answers"] == (answers if read["log_odds"] > 0 else answers[::-1])
        assert {s["side"] for s in read["transcript"]} <= {0, 1}
        assert row["probability"] == pytest.approx(1 / (1 + np.exp(-abs(read["log_odds"]))), abs=1e-5)
    assert any(read["transcript"] for read in lines.values())
    assert note["transcripts_sha256"] == sha256_path(folder / TRANSCRIPTS)
    assert sum(note["audit"].values()) == 12 and len(lines) == 2 * 12 + 12 - note["set_aside"]["same_or_empty"]
    people = pl.read_parquet(folder / "data/processed/reward_train.parquet")
    assert set(table["id"]) <= {f"oversight-{name}" for name in people["id"]}


def test_the_judge_is_measured_by_the_protocol_and_alone(debated: tuple[Path, dict[str, Any]]) -> None:
    folder, record = debated
    rows = {r["name"]: r for r in json.loads((folder / "data/reports/reward/metrics.json").read_text())["metrics"]}
    read = [json.loads(line) for line in (folder / TRANSCRIPTS).read_bytes().splitlines()]
    for way in ("debate", "direct"):
        known = [r for r in read if r["id"].startswith(f"audit-{way}-")]
        right = np.mean([(r["log_odds"] > 0) == (r["right"] == 0) for r in known])
        row = rows[f"oversight/judge_accuracy/{way}"]
        assert row["value"] == pytest.approx(right) and row["n"] == 12 and row["low"] < right < row["high"]
        assert rows[f"oversight/judge_accuracy/{way}/problems"]["n"] == 6
        assert record["metrics"][f"oversight/judge_accuracy/{way}"] == row["value"]
    change = rows["oversight/judge_accuracy/debate_minus_direct"]
    assert change["low"] <= change["value"] <= change["high"]
    assert "is not told apart from guessing" in record["notes"]["oversight"]["said"]  # a random model


def test_lineage_and_the_judge_of_the_evaluation(debated: tuple[Path, dict[str, Any]], trained_project: Path) -> None:
    folder, record = debated
    lineage = {n: json.loads((folder / f"data/models/{n}/lineage.json").read_text()) for n in ("reward", "judge")}
    assert lineage["reward"]["oversight_pairs_sha256"] == sha256_path(folder / PAIRS) == record["outputs"][PAIRS]
    assert "oversight_pairs_sha256" not in lineage["judge"]  # it stays people's
    weights = {
        n: [sha256_path(p / f"data/models/{n}/model.safetensors") for p in (trained_project, folder)]
        for n in ("reward", "judge")
    }
    assert weights["reward"][0] != weights["reward"][1] and weights["judge"][0] == weights["judge"][1]


def test_a_consultant_who_can_always_quote_is_believed(trained_project: Path, tmp_path: Path) -> None:
    """The judge takes the side that quotes by 2 in log-odds, whatever its liking for the letter A; alone it takes the shorter
    answer. So the consultant's side wins, right or wrong, and the audit says that this is guessing."""
    with oversight_server() as server:
        endpoints = {who: {"url": server.url, "model": who} for who in ("judge", "expert")}
        folder, record = made(
            trained_project, tmp_path, protocol="consultancy", pairs=6, audit=3, max_new_tokens=60, **endpoints
        )
        judged = server.asked("judge")
    table, note = pl.read_parquet(folder / PAIRS), record["notes"]["oversight"]
    np.testing.assert_allclose(table["probability"], 1 / (1 + np.exp(-2)), atol=1e-6)
    lines = [json.loads(line) for line in (folder / TRANSCRIPTS).read_bytes().splitlines()]
    advised = [r for r in lines if r["protocol"] == "consultancy"]
    assert len(advised) == 6 + table.height
    for read in advised:
        (statement,) = read["transcript"]
        assert read["log_odds"] == (2 if statement["side"] == 0 else -2)
    alone = [r for r in lines if r["protocol"] == "direct"]
    shorter = [len(b) - len(a) for a, b in (r["answers"] for r in alone)]
    np.testing.assert_allclose([r["log_odds"] for r in alone], 0.1 * np.array(shorter), atol=1e-6)
    assert (note["judge"], note["expert"], note["written"]["cut"]) == ("judge", "expert", 0)
    assert len(judged) == 2 * (6 + 6 + table.height)
    assert "by consultancy, and alone on" in note["said"]


def test_a_debate_in_turns_of_which_the_judge_reads_quotes_alone(trained_project: Path, tmp_path: Path) -> None:
    """Experts point to how the question begins: that is all the judge reads, and only who speaks second has heard the other."""
    with oversight_server() as server:
        endpoints = {
            who: {"url": server.url, "model": name} for who, name in (("judge", "judge"), ("expert", "pointer"))
        }
        settings = {"pairs": 6, "audit": 3, "max_new_tokens": 60, "order": "in turns", "quotes": POINTED}
        folder, record = made(trained_project, tmp_path, **settings, **endpoints)
        judged, argued = server.asked("judge"), server.asked("pointer")
    assert [record["notes"]["oversight"][name] for name in ("order", "quotes")] == ["in turns", POINTED]
    read = [json.loads(line) for line in (folder / TRANSCRIPTS).read_bytes().splitlines()]
    debated = [r for r in read if r["protocol"] == "debate"]
    assert all(s["text"] == r["question"][:POINTED].strip() for r in debated for s in r["transcript"])
    assert sum(len(r["transcript"]) == 2 for r in debated) > len(debated) / 2
    assert not any("It is so" in text for text in judged)
    assert sum("It is so" in text for text in argued) == len(debated) == len(argued) / 2


def test_an_assistant_learns_from_the_judge_before_it_helps_him(trained_project: Path, tmp_path: Path) -> None:
    """Level by level, on other questions than those that it is measured on; the judge reads its statements from level 2 on."""
    with oversight_server() as server:
        judge = {"url": server.url, "model": "judge"}
        settings = {
            "protocol": "recursive_reward",
            "pairs": 30,
            "audit": 6,
            "turns": 2,
            "max_new_tokens": 24,
            "judge": judge,
        }
        folder, record = made(trained_project, tmp_path, **settings)
        judged = server.asked("judge")
    note = record["notes"]["oversight"]
    rows = {r["name"]: r for r in json.loads((folder / "data/reports/reward/metrics.json").read_text())["metrics"]}
    assert note["assistant"]["candidates"] == 4 and [n["level"] for n in note["assistant"]["levels"]] == [1, 2]
    for level in note["assistant"]["levels"]:
        assert rows[f"oversight/assistant_learned/level_{level['level']}"]["value"] == level["learned"] > 0
        agreed = rows[f"oversight/assistant_agreement/level_{level['level']}"]
        assert agreed["n"] == level["held_out"] > 0 and agreed["low"] < agreed["value"] + 1e-9 <= agreed["high"] + 1e-9
        assert record["metrics"][agreed["name"]] == agreed["value"]
    assert f"Its assistant learned {note['assistant']['levels'][1]['learned']} of the judge's choices" in note["said"]
    lines = [json.loads(line) for line in (folder / TRANSCRIPTS).read_bytes().splitlines()]
    by = {
        start: [r for r in lines if r["id"].startswith(start)]
        for start in ("assistant-1", "assistant-2", "audit-recursive", "oversight")
    }
    assert not any(r["transcript"] for r in by["assistant-1"]) and all(by.values())
    assert all(s["side"] is None for r in lines for s in r["transcript"])
    assert all(any(r["transcript"] for r in by[start]) for start in list(by)[1:])
    assert any("A model answered smaller questions" in text for text in judged)
    people = pl.read_parquet(folder / "data/processed/reward_train.parquet")
    assert pl.read_parquet(folder / PAIRS).height == note["pairs"] > 0
    assert set(pl.read_parquet(folder / PAIRS)["id"]) <= {f"oversight-{name}" for name in people["id"]}


def test_nothing_is_left_where_it_is_off(trained_project: Path) -> None:
    assert pl.read_parquet(trained_project / PAIRS).height == 0
    assert not (trained_project / TRANSCRIPTS).exists()
    record = json.loads((trained_project / "data/reports/reward/record.json").read_text())
    assert "oversight" not in record["notes"]
    assert not [name for name in record["metrics"] if name.startswith("oversight/")]


def test_no_room_for_any_prompt_is_said(trained_project: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"oversight\.max_tokens: 900 leave no room for any prompt .* by direct; raise it"
    ):
        made(trained_project, tmp_path, protocol="direct", audit=1, max_new_tokens=445)
