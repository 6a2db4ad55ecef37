"""A vendor's identifiers reach no file, an erased person leaves all of them, and expired data stop a run."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from governance.erasure import holders
from tests.end_to_end.conftest import PEOPLE, UNTIL_ANNOTATORS, VOTES, Project, copied, entries, made, names

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.xdist_group("privacy")]
PERSON = "ann-secret-7"


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory, vendor_made: Project) -> Project:
    return copied(vendor_made, tmp_path_factory.mktemp("erased") / "copy")


def test_no_identifier_is_kept_anywhere(vendor: Project) -> None:
    assert names(vendor, PERSON) == []
    table = pl.read_parquet(vendor.folder / "data/interim/valid/votes.parquet")
    people = table["annotator_id"].unique().to_list()
    assert len(people) == 12
    assert all(p.startswith("p-") for p in people)
    assert len(names(vendor, people[0])) > 4  # the search finds what is there
    described = pl.read_parquet(vendor.folder / "data/interim/ingested/people.parquet")
    assert set(described["annotator_id"]) == set(people)
    assert sum(e.data["rows"] for e in entries(vendor, "data.quarantined")) > 0


def test_an_export_tells_of_no_small_group(vendor: Project, tmp_path: Path) -> None:
    bundle = tmp_path / "evidence.zip"
    assert vendor.attestrl("evidence", "export", "latest", "--out", str(bundle)).returncode == 0
    with zipfile.ZipFile(bundle) as z:
        sheet = json.loads(z.read("run/datasheet-votes.json"))
        report = json.loads(z.read("run/reports/annotators.json"))
        assert report["flagged"] == [0, 10]
        assert "demographics" not in report
        assert [k for k in json.loads(z.read("run/stages/annotators.json"))["metrics"] if "flagged" in k] == []
        everything = b"".join(z.read(n) for n in z.namelist() if n.startswith("run/"))
    said = {a["id"]: a["answer"] for a in sheet["answers"]}["COMP-13"]
    assert "country: 2 groups are not shown" in said
    assert b"south" not in everything


def test_an_erased_person_is_gone_and_stays_away(vendor: Project, tmp_path: Path) -> None:
    before = pl.read_parquet(vendor.folder / "data/interim/valid/votes.parquet")
    bundle = str(tmp_path / "before.zip")
    assert vendor.attestrl("evidence", "export", "latest", "--out", bundle).returncode == 0

    done = vendor.attestrl("privacy", "erase", PERSON, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["raw_files"] == [PEOPLE, VOTES]
    assert (found["complete"], found["git"]) == (True, [])
    assert found["runs"]
    left = set(before["annotator_id"])
    gone = {p for p in left if not [n for n in names(vendor, p) if "/privacy/" not in n]}
    assert len(gone) == 12, "tables of everybody are gone until the next run"

    assert vendor.attestrl("ledger", "verify").returncode == 0
    assert vendor.attestrl("evidence", "verify", bundle).returncode == 0
    after_it = vendor.run(*UNTIL_ANNOTATORS)
    assert made(after_it) == ["ingest", "validate", "annotators"], after_it["message"]
    after = pl.read_parquet(vendor.folder / "data/interim/valid/votes.parquet")
    (erased,) = left - set(after["annotator_id"])
    described = pl.read_parquet(vendor.folder / "data/interim/ingested/people.parquet")
    assert set(described["annotator_id"]) == left - {erased}
    assert after.height == before.filter(pl.col("annotator_id") != erased).height
    kept = [n for n in names(vendor, erased) if "/.attestrl/privacy/" not in n]
    assert kept == []
    again = json.loads(vendor.attestrl("privacy", "erase", PERSON, "--json").stdout)
    assert again == {"erasure": None, "complete": True, "git": [], "raw_files": [PEOPLE, VOTES]}
    nobody = vendor.attestrl("privacy", "erase", "ann-unknown")
    assert nobody.returncode == 2
    assert "ann-unknown" not in nobody.stderr


def test_an_erased_person_is_in_no_cache_that_a_team_shares(vendor_made: Project, tmp_path: Path) -> None:
    project = copied(vendor_made, tmp_path / "copy")
    shared = tmp_path / "shared"
    shutil.move(project.folder / ".dvc/cache", shared)
    assert project.python("-m", "dvc", "cache", "dir", "--local", str(shared)).returncode == 0
    people = pl.read_parquet(project.folder / "data/interim/valid/votes.parquet")["annotator_id"].unique().to_list()
    assert all(list(holders([shared], p)) for p in people)
    done = project.attestrl("privacy", "erase", PERSON)
    assert done.returncode == 0, done.stderr
    assert not any(list(holders([shared], p)) for p in people), "files that hold the person's rows are gone whole"


def test_expired_data_stop_a_run(vendor: Project) -> None:
    declared = vendor.folder / "data/raw/vendor/retention.yaml"
    declared.write_text("purpose: reward models\nretain_until: 2020-01-31\naction: delete\n", encoding="utf-8")
    refused = vendor.attestrl("run", *UNTIL_ANNOTATORS)
    assert refused.returncode == 1
    assert "2020-01-31" in refused.stderr
    listed = vendor.attestrl("privacy", "retention", "--json")
    assert listed.returncode == 1
    states = {r["source"]: r["state"] for r in json.loads(listed.stdout)}
    assert states[VOTES] == "due"
    assert states["data/raw/hh_rlhf/small.jsonl"] == "not declared"
    written = vendor.attestrl("privacy", "ropa", "--out", "ropa.md")
    assert written.returncode == 0, written.stderr
    text = (vendor.folder / "ropa.md").read_text(encoding="utf-8")
    assert "until 2020-01-31, then delete (due)" in text
    assert "**Missing**: ask the controller" in text
    # that the vendor's files were named on a command line and not in params.yaml leaves them no less processed
    assert "annotators of votes, by pseudonym" in text
    assert "what each annotator of votes chose" in text
    assert "of annotators is read, beside their votes: country, age" in text
    declared.write_text("retain_until: soon\n", encoding="utf-8")
    wrong = vendor.attestrl("privacy", "retention")
    assert wrong.returncode == 2
    assert "retain_until" in wrong.stderr
    shutil.rmtree(declared.parent)
