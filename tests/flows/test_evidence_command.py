"""`attestrl evidence` as a person types it."""

import json
from pathlib import Path

from governance.ledger import Ledger
from tests.governance.conftest import notary_of
from tests.governance.runs import RUN, make_run
from tests.typed import attestrl


def test_export_and_verify(empty_project: Path, tmp_path: Path) -> None:
    home = empty_project / ".attestrl"
    make_run(notary_of(Ledger(home / "ledger.jsonl")), home / "records")
    digests = set()
    for name in ("one.zip", "two.zip"):
        done = attestrl(empty_project, "evidence", "export", "latest", "--out", name, "--json")
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        (written,) = document["bundles"]
        assert written["run_id"] == RUN
        digests.add(written["sha256"])
    assert len(digests) == 1
    (exported, _) = [e for e in Ledger(home / "ledger.jsonl").entries() if e.type == "evidence.exported"]
    assert exported.subject_digests == {"bundle": digests.pop()}

    assert attestrl(empty_project, "evidence", "key", "--out", "key.pem").returncode == 0
    bundle = str(empty_project / "one.zip")
    done = attestrl(tmp_path, "evidence", "verify", bundle, "--key", str(empty_project / "key.pem"))
    assert done.returncode == 0, done.stdout
    assert f"run {RUN}: done, release gate: pass" in done.stdout
    done = attestrl(empty_project, "evidence", "export", "latest", "--out", ".")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert attestrl(empty_project, "evidence", "export", "all", "--out", "year").returncode == 0
    (same,) = (empty_project / "year").iterdir()
    assert same.name == f"evidence-{RUN}.zip"
    assert same.read_bytes() == Path(bundle).read_bytes()
    cut = home / "records" / "20260101T000000Z-cut"
    cut.mkdir()
    (cut / "run.json").write_text("{", encoding="utf-8")
    done = attestrl(empty_project, "evidence", "export", "all", "--out", "rest")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert str(cut / "run.json") in done.stderr and "other 1 of 2 runs" in done.stderr
    assert [f.read_bytes() for f in (empty_project / "rest").iterdir()] == [same.read_bytes()]
    Path(bundle).write_bytes(Path(bundle).read_bytes()[:-1])
    done = attestrl(tmp_path, "evidence", "verify", bundle, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["verified"] is False


def test_what_cannot_be_exported_is_one_sentence(empty_project: Path) -> None:
    assert attestrl(empty_project, "evidence", "export", "latest", "--out", "x.zip").returncode == 2
    assert attestrl(empty_project, "evidence", "export", "all", "--out", "year").returncode == 2
    done = attestrl(empty_project, "evidence", "export", "../outside", "--out", "x.zip")
    assert done.returncode == 2
    assert "there is no such run" in done.stderr
    assert attestrl(empty_project, "evidence", "key", "--out", "key.pem").returncode == 2
    done = attestrl(empty_project, "evidence", "verify", "absent.zip")
    assert done.returncode == 2
    assert "absent.zip: there is no such file" in done.stderr
