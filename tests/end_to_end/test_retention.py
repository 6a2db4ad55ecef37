"""Data whose time is over: deleted with every version made from them, or on record for a person, by hand and by schedule."""

import json
from pathlib import Path

import polars as pl
import pytest

from tests.end_to_end.conftest import PEOPLE, UNTIL_ANNOTATORS, VOTES, Project, copied, entries, names, outcomes

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.xdist_group("privacy")]
PANEL = ("--set", "ingest.votes=null", "--set", "ingest.annotators=null", "--until", "annotators")
FLOW = "from flows.scheduled import scheduled_retention as f; print(f(return_state=True).message)"
OVER = "retain_until: 2020-01-31\naction: {}\n"


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory, vendor_made: Project) -> Project:
    return copied(vendor_made, tmp_path_factory.mktemp("retention") / "copy")


def state_of(project: Project, source: str, *options: str) -> tuple[str, int]:
    done = project.attestrl("privacy", "retention", "--json", *options)
    return {r["source"]: r["state"] for r in json.loads(done.stdout)}[source], done.returncode


def test_what_is_due_is_deleted_with_every_version_and_nothing_else(vendor: Project, tmp_path: Path) -> None:
    people = pl.read_parquet(vendor.folder / "data/interim/valid/votes.parquet")["annotator_id"].unique().to_list()
    bundle = str(tmp_path / "before.zip")
    assert vendor.attestrl("evidence", "export", "latest", "--out", bundle).returncode == 0
    other = vendor.run(*PANEL)
    assert other["status"] == "done", other["message"]
    assert vendor.python("-m", "dvc", "push", "-q").returncode == 0
    table = "data/interim/ingested/preferences.parquet"
    shared = pl.read_parquet(vendor.folder / table)

    source = vendor.folder / VOTES
    source.with_name("retention.yaml").write_text(OVER.format("delete"), encoding="utf-8")
    assert state_of(vendor, VOTES) == ("due", 1)
    assert source.exists()
    assert sum(len(names(vendor, p)) for p in people) > 20
    assert state_of(vendor, VOTES, "--act") == ("deleted", 0)
    assert not source.exists()
    assert [n for p in people for n in names(vendor, p)] == []

    deleted = {e.data["source"]: e for e in entries(vendor, "retention.deleted")}
    assert deleted.keys() == {PEOPLE, VOTES}
    entry = deleted[VOTES]
    assert (entry.data["source"], entry.data["retain_until"], entry.data["in_git"]) == (VOTES, "2020-01-31", False)
    assert entry.actor.startswith("user:")
    assert sum(e.data["objects"] for e in deleted.values()) > 20
    assert VOTES in entry.subject_digests
    assert len(entry.data["runs"]) == 1
    assert vendor.attestrl("ledger", "verify").returncode == 0
    assert vendor.attestrl("evidence", "verify", bundle).returncode == 0
    assert state_of(vendor, VOTES, "--act") == ("deleted", 0)
    assert len(entries(vendor, "retention.deleted")) == 2

    # what the other run made without the votes is there, in the workspace, the cache and the remote
    again = vendor.run(*PANEL)
    assert set(outcomes(again).values()) == {"cached", "skipped"}
    for folder in ("data/interim", ".dvc/cache"):
        (vendor.folder / folder).rename(tmp_path / folder.replace("/", "-"))
    pulled = vendor.python("-m", "dvc", "pull", "-q", "ingest")
    assert pulled.returncode == 0, pulled.stderr
    assert pl.read_parquet(vendor.folder / table).equals(shared)


def test_what_a_person_must_review_is_put_on_record_once_by_the_schedule(vendor: Project) -> None:
    pairs = vendor.folder / "data/raw/hh_rlhf/small.jsonl"
    (pairs.parent / "retention.yaml").write_text(OVER.format("review"), encoding="utf-8")
    for _ in range(2):
        done = vendor.python("-c", FLOW)
        assert done.returncode == 0, done.stderr
    assert pairs.exists()
    due = entries(vendor, "retention.review_due")
    assert {e.data["source"] for e in due} == {"data/raw/hh_rlhf/small.jsonl"}
    assert [e.actor for e in due] == ["schedule:attestrl-retention"]
    refused = vendor.attestrl("run", *UNTIL_ANNOTATORS[:2], *PANEL)
    assert refused.returncode == 1
    assert "2020-01-31" in refused.stderr
    assert state_of(vendor, "data/raw/hh_rlhf/small.jsonl", "--act") == ("due", 1)
    assert len(entries(vendor, "retention.review_due")) == 1
    assert vendor.attestrl("ledger", "verify").returncode == 0
