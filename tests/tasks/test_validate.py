"""The stage `validate` as a whole: bad rows go to quarantine with their reasons, also across chunks and tables."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from governance.errors import BadInput, GateRefused
from tasks import paths, row_checks, tables
from tests.conftest import needs_namespaces, on_small_disk, run_stage_in

ROOT = Path(__file__).resolve().parents[2]


def pair(name: str, prompt: str, chosen: str = "Yes.", rejected: str = "No.") -> dict[str, Any]:
    return {"id": name, "prompt": prompt, "chosen": chosen, "rejected": rejected}


GOOD = [pair(f"r{k}", f"Question {k}?", f"Answer {k}.") for k in range(60)]
BAD = [
    pair("r0", "Question 0?", "Answer 0."),  # again, word for word
    pair("r1", "Another?"),  # another row under a known id
    pair("e", " "),
    pair("s", "Same?", "One.", "One."),
]
SAID = [
    ("r1", 1, "id_unique"),
    ("r0", 60, "row_new"),
    ("r1", 61, "id_unique"),
    ("e", 62, "prompt_not_empty"),
    ("s", 63, "sides_differ"),
]


def project(folder: Path, rows: list[dict[str, Any]], **given: list[dict[str, Any]]) -> Path:
    """A project folder in which `rows` are ingested."""
    settings = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    settings["ingest"] |= {"preferences": "preferences.jsonl", "audits": {}, **{n: f"{n}.jsonl" for n in given}}
    settings["validate"]["max_quarantine_share"] = 1.0
    (folder / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    for name, content in {"preferences": rows, **given}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in content), encoding="utf-8")
    run_stage_in(folder, "ingest")
    return folder


def quarantine(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "data/reports/validate/quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("chunk", [7, 50_000])
def test_bad_rows_are_set_aside_whatever_the_chunks(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "CHUNK", chunk)
    folder = project(tmp_path, GOOD + BAD)
    run_stage_in(folder, "validate")
    found = [q for q in quarantine(folder) if q["table"] == "preferences"]
    assert [(q["id"], q["row"], q["rule"]) for q in found] == SAID
    assert all(q["reason"] and q["field"] for q in found)
    kept = pl.read_parquet(folder / paths.VALID / "preferences.parquet")
    assert kept["id"].to_list() == [r["id"] for r in GOOD if r["id"] != "r1"]
    votes = pl.read_parquet(folder / paths.VALID / "votes.parquet")
    assert set(votes["item_id"]) <= set(kept["id"])
    checks = json.loads((folder / "data/reports/validate/checks.json").read_text())["checks"]
    assert checks["preferences"]["id_unique"] == {"checked": 64, "failed": 2}
    assert not list((folder / "data").rglob(".*"))


def test_votes_and_golden_items_are_judged_against_what_remains(tmp_path: Path) -> None:
    votes = [{"item_id": r["id"], "annotator_id": who, "choice": 1} for r in GOOD for who in ("a", "b")]
    votes += [votes[0], {"item_id": "e", "annotator_id": "a", "choice": 0}, votes[0]]
    golden = [{"item_id": i, "gold_choice": 1} for i in ("r0", "r0", "e")]
    folder = project(tmp_path, GOOD + BAD[2:], votes=votes, golden=golden)
    run_stage_in(folder, "validate")
    found = [(q["table"], q["row"], q["rule"]) for q in quarantine(folder) if q["table"] != "preferences"]
    assert found == [
        ("votes", 120, "first_vote"),
        ("votes", 121, "item_known"),
        ("votes", 122, "first_vote"),
        ("golden", 1, "item_unique"),
        ("golden", 2, "item_known"),
    ]


def test_too_many_bad_rows_stop_the_run_after_the_report(tmp_path: Path) -> None:
    folder = project(tmp_path, GOOD + BAD)
    with pytest.raises(GateRefused, match=r"5 of 64 rows of preferences are bad \(limit 5%\).*such as r1, r0, r1"):
        run_stage_in(folder, "validate", validate={"max_quarantine_share": 0.05})
    assert len(quarantine(folder)) > 5
    index = (folder / "data/reports/validate/data_docs/index.html").read_text(encoding="utf-8")
    assert 'href="../../annotators/report.html"' in index
    assert not [p for p in (folder / paths.VALID).rglob("*") if p.is_file()]


def test_no_valid_pair_is_bad_input(tmp_path: Path) -> None:
    folder = project(tmp_path, [pair(f"r{k}", " ") for k in range(5)])
    with pytest.raises(BadInput, match="none of the 5 pairs is valid, most often by the rule prompt_not_empty"):
        run_stage_in(folder, "validate")


def test_many_rows_that_share_their_id_are_bad_input(tmp_path: Path) -> None:
    folder = project(tmp_path, [pair("x" if k < 9 else f"r{k}", f"Question {k}?") for k in range(30)])
    sentence = r"9 of 30 rows of preferences share their id with other rows, such as x.*quarantine\.jsonl"
    with pytest.raises(BadInput, match=sentence) as refused:
        run_stage_in(folder, "validate", validate={"max_quarantine_share": 0.05})
    assert refused.value.exit_code == 2
    assert not [p for p in (folder / paths.VALID).rglob("*") if p.is_file()]


def test_pages_of_a_large_table_say_that_they_show_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_checks, "SAMPLE", 20)
    folder = project(tmp_path, GOOD + BAD)
    made = run_stage_in(folder, "validate")
    pages = {p.name: p.read_text(encoding="utf-8") for p in (folder / "data/reports/validate").rglob("*.html")}
    page = pages["tables-preferences.html"]
    assert "The table has 64 rows. This page shows a sample of 24" in page  # 20, and four of the five that fail
    assert "Failures among all rows: id_unique: 2, row_new: 1, prompt_not_empty: 1, sides_differ: 1." in page
    assert "sample" not in pages["tables-demonstrations.html"]
    assert made["metrics"]["rows/quarantined"] >= 5


@needs_namespaces
def test_pages_that_a_full_disk_does_not_take_are_no_pile_of_tracebacks(tmp_path: Path) -> None:
    """The folder of temporary files is a file system of 4 KiB; Great Expectations logs every page that it fails to write."""
    code = (
        "import polars as pl; from pathlib import Path; from governance.errors import explained; from tasks import data_docs\n"
        "shown = data_docs.Shown(pl.DataFrame({'id': ['a'], 'good': [True]}), {'good': 'is good'}, None)\n"
        "try: data_docs.write_data_docs({'preferences': shown}, Path('out'))\n"
        "except Exception as error: print(explained(error))\n"
    )
    done = on_small_disk("4k", 'TMPDIR=small "$@"', code, cwd=tmp_path)
    assert "the disk is full" in done.stdout
    assert "Traceback" not in done.stderr


def test_the_same_rows_give_the_same_report(tmp_path: Path) -> None:
    folder = project(tmp_path, GOOD + BAD)
    names = ("data_docs", "quarantine.jsonl", "checks.json", "pii.json")
    made = [run_stage_in(folder, "validate")["outputs"] for _ in range(2)]
    assert all(made[0][f"data/reports/validate/{name}"] == made[1][f"data/reports/validate/{name}"] for name in names)


def test_votes_on_a_criterion_of_a_pair_are_votes_on_a_known_item(tmp_path: Path) -> None:
    cast = [
        {"item_id": item, "annotator_id": who, "choice": 1}
        for who in "ab"
        for item in ("r3", "r3:honesty", "x:honesty")
    ]
    folder = project(tmp_path, GOOD, votes=cast)
    run_stage_in(folder, "validate")
    assert {q["id"] for q in quarantine(folder) if q["rule"] == "item_known"} == {
        f"x:honesty/{who}" for who in pl.read_parquet(folder / paths.VALID / "votes.parquet")["annotator_id"].unique()
    }
