"""Rows of a person that were committed to git: found whatever points at them, and an erasure is incomplete until they are gone."""

import contextlib
import gzip
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows import erasure, git_history
from governance.entry import Event
from governance.ledger import Ledger
from tasks import pseudonyms

PERSON, SOURCE = "ann-4711", "data/raw/vendor/votes.csv"
ROWS = f"item_id,annotator_id,choice\ni1,{PERSON},1\ni2,ann-47,0\n"
WRITER = ("-c", "user.name=t", "-c", "user.email=t@localhost")


def git(*arguments: str) -> str:
    return subprocess.run(["git", *WRITER, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def commit(file: str, content: str | bytes, message: str = "x") -> str:
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_bytes(content if isinstance(content, bytes) else content.encode())
    git("add", "-f", file)
    git("commit", "-qm", message)
    return git("rev-parse", "HEAD")[:12]


@pytest.fixture
def repository(empty_project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ATTESTRL_HOME", str(empty_project / ".attestrl"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with contextlib.chdir(empty_project):
        git("init", "-q", "-b", "main")
        commit("tests/test_votes.py", f"PERSON = '{PERSON}'  # no row\n")
        yield empty_project


def person() -> str:
    return pseudonyms.pseudonym(PERSON, pseudonyms.key())


def zipped(_: Path) -> tuple[str, str]:
    return commit("export.csv.gz", gzip.compress(ROWS.encode())), "export.csv.gz"


def table(folder: Path) -> tuple[str, str]:
    pl.DataFrame({"annotator_id": [person()] * 500}).write_parquet(folder / "votes")
    return commit("votes", (folder / "votes").read_bytes()), "votes"


def on_another_branch(_: Path) -> tuple[str, str]:
    git("checkout", "-qb", "vendor")
    made = commit(SOURCE, ROWS)
    git("checkout", "-q", "main")
    return made, SOURCE


def taken_back(_: Path) -> tuple[str, str]:
    made = commit("rows.jsonl", json.dumps({"annotator_id": PERSON}))
    git("reset", "-q", "--hard", "HEAD~1")
    return made, "rows.jsonl"


def in_a_notebook(_: Path) -> tuple[str, str]:
    return commit("look at it.ipynb", f"{{'annotator_id': '{person()}'}}"), "look at it.ipynb"


@pytest.mark.parametrize("where", [zipped, table, on_another_branch, taken_back, in_a_notebook])
def test_rows_are_found_whatever_points_at_them(repository: Path, where: Callable[[Path], tuple[str, str]]) -> None:
    assert git_history.holding(person(), PERSON, [SOURCE]) == []
    made, path = where(repository)
    found = git_history.holding(person(), PERSON, [SOURCE])
    assert f"{made} {path}" in found
    assert {row.partition(" ")[2] for row in found} == {path}


def test_what_is_no_row_of_the_person_is_not_named(repository: Path) -> None:
    commit(SOURCE, ROWS.replace(PERSON, f"{PERSON}2"))
    commit("data/numbers.csv", "item_id,score\ni1,12\n")
    assert git_history.holding(person(), PERSON, [SOURCE]) == []
    assert git_history.holding("p-" + "0" * 12, "12", [SOURCE]) == []
    made = commit(SOURCE, "item_id,annotator_id\ni1,12\n")
    assert git_history.holding("p-" + "0" * 12, "12", [SOURCE]) == [f"{made} {SOURCE}"]
    assert git_history.holding(person(), None, [SOURCE]) == [
        f"{made} {SOURCE}: not searched without the vendor's identifier"
    ]


def test_an_object_that_no_commit_names_is_found(repository: Path) -> None:
    Path("rows.txt").write_text(person())
    oid = git("hash-object", "-w", "rows.txt")
    assert git_history.holding(person(), PERSON, []) == [f"no commit {oid[:12]}"]


def test_an_erasure_is_complete_when_git_has_the_rows_no_more(repository: Path) -> None:
    def erase() -> dict[str, Any]:
        return erasure.erase(PERSON, "user:a", lambda _: None)

    made = commit(SOURCE, ROWS)
    git("rm", "-q", SOURCE)
    git("commit", "-qm", "gone, but not from history")
    Path("data/interim/ingested").mkdir(parents=True)
    pl.DataFrame({"annotator_id": [person(), "p-other"]}).write_parquet("data/interim/ingested/votes.parquet")
    first = erase()
    assert not Path("data/interim/ingested/votes.parquet").exists()
    assert (first["rows"], first["complete"]) == (1, False)
    assert f"{made} {SOURCE}" in first["git"]
    again = erase()
    assert (again["erasure"], again["complete"]) == (None, False)

    git("update-ref", "refs/heads/main", git("rev-list", "--max-parents=0", "HEAD"))
    git("reflog", "expire", "--expire=now", "--all")
    assert not erase()["complete"]
    git("gc", "-q", "--prune=now")
    last = erase()
    assert last["complete"] and last["git"] == [] and last["erasure"]
    assert erase()["erasure"] is None
    entries = [e for e in Ledger(repository / ".attestrl/ledger.jsonl").entries() if e.type == Event.ERASED]
    assert [e.data["complete"] for e in entries] == [False, True]
    assert made in entries[0].data["git"] and entries[1].data["git"] == []
    assert entries[1].data["completes"] == entries[0].data["removal"]
    assert not any(PERSON in str(e) or person() in str(e) for e in entries)
