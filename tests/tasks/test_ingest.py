"""The stage `ingest` as a whole: what it writes does not depend on chunks or storage, and on error it writes nothing."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from governance.errors import BadInput
from tasks import formats, paths
from tests.conftest import run_stage_in

ROOT = Path(__file__).resolve().parents[2]
VOTES = [{"item_id": f"i{k}", "annotator_id": who, "choice": k % 2} for k in range(6) for who in ("anna", "bert")]


@pytest.fixture
def project(tmp_path: Path, hh_rows: list[dict[str, Any]]) -> Path:
    """A project folder with few real pairs and without audits, in a path with a space and other letters."""
    folder = tmp_path / "mein Projekt ü"
    folder.mkdir()
    settings = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    settings["ingest"] |= {"preferences": "pairs.jsonl", "audits": {}}
    (folder / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    write(folder / "pairs.jsonl", hh_rows)
    return folder


def write(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def table(project: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(project / paths.INGESTED / f"{name}.parquet")


def test_tables_do_not_depend_on_chunks_or_storage(
    project: Path, hh_rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pl.DataFrame(hh_rows).write_parquet(project / "pairs.parquet")
    whole = run_stage_in(project, "ingest")["notes"]["tables"]
    assert whole["preferences"]["rows"] == len(hh_rows)
    assert whole["votes"]["rows"] == 5 * len(hh_rows)
    monkeypatch.setattr(formats, "CHUNK", 7)
    again = run_stage_in(project, "ingest", ingest={"preferences": "pairs.parquet"})["notes"]["tables"]
    assert {n: t["content_sha256"] for n, t in again.items()} == {n: t["content_sha256"] for n, t in whole.items()}
    assert not list((project / "data").rglob(".*"))


def test_given_votes_golden_and_demonstrations(project: Path) -> None:
    write(project / "votes.jsonl", VOTES)
    write(project / "golden.jsonl", [{"item_id": "i1", "gold_choice": 1}])
    write(project / "shown.jsonl", [{"prompt": "Hi", "completion": "Hello", "author_id": "anna"}])
    given = {"votes": "votes.jsonl", "golden": "golden.jsonl", "demonstrations": "shown.jsonl"}
    run_stage_in(project, "ingest", ingest=given)
    votes, shown = table(project, "votes"), table(project, "demonstrations")
    assert votes.height == len(VOTES)
    assert votes["annotator_id"].str.starts_with("p-").all()
    assert shown["author_id"][0] in votes["annotator_id"].to_list()  # one person, one pseudonym
    assert table(project, "golden")["item_id"].to_list() == ["i1"]


@pytest.mark.parametrize(
    ("votes", "golden", "words"),
    [
        (VOTES[::2], None, ["votes.jsonl", "all 6 votes are by one annotator"]),
        (VOTES, [{"item_id": "other", "gold_choice": 1}], ["golden.jsonl", "none of its 1 golden items"]),
        ([*VOTES, {"item_id": "i", "annotator_id": "c", "choice": 3}], None, ["votes.jsonl: line 13", "choice"]),
        (VOTES, [{"item_id": "i1"}], ["golden.jsonl: line 1", "gold_choice"]),
    ],
)
def test_bad_votes_leave_nothing_behind(project: Path, votes: list[Any], golden: Any, words: list[str]) -> None:
    write(project / "votes.jsonl", votes)
    write(project / "golden.jsonl", golden or [])
    given = {"votes": "votes.jsonl", "golden": "golden.jsonl" if golden else None}
    with pytest.raises(BadInput) as error:
        run_stage_in(project, "ingest", ingest=given)
    assert all(word in str(error.value) for word in words), error.value
    assert not [p for p in (project / "data").rglob("*") if p.is_file()]
    assert "anna" not in str(error.value)


def test_a_bad_row_deep_in_the_file_leaves_nothing_behind(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "CHUNK", 7)
    with (project / "pairs.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"prompt": "x", "chosen": 3, "rejected": "y"}\n')
    with pytest.raises(BadInput, match=r"pairs\.jsonl: line 161: field chosen: is a number"):
        run_stage_in(project, "ingest")
    assert not [p for p in (project / "data").rglob("*") if p.is_file()]


def test_golden_without_votes_is_refused(project: Path) -> None:
    with pytest.raises(BadInput, match=r"ingest\.golden is given without ingest\.votes"):
        run_stage_in(project, "ingest", ingest={"golden": "golden.jsonl"})
