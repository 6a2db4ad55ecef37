"""The bundle: deterministic, complete, verified by a program that shares no code with it, and made of a whole log alone."""

import ast
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from governance import bundle
from governance.digest import sha256_bytes
from governance.entry import Event
from governance.errors import BadInput, GateRefused
from governance.verify_bundle import container, verify
from tests.governance.bundles import SOURCE, Exported, read
from tests.governance.runs import OTHER, RUN, export_to, make_notary, make_run


def test_the_same_run_gives_the_same_bytes(exported: Exported, tmp_path: Path) -> None:
    digest = export_to(exported.run, exported.notary, "user:b", tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == exported.zip.read_bytes()
    assert digest == sha256_bytes(exported.zip.read_bytes())


def test_the_bundle_is_complete(exported: Exported) -> None:
    names = set(exported.files)
    assert {"manifest.json", "index.html", "mapping.json", "verify.py"} <= names
    assert {"ledger/entries.jsonl", "ledger/proofs.json", "ledger/checkpoint.json"} <= names
    in_folder = {f"run/{p.relative_to(exported.run).as_posix()}" for p in exported.run.rglob("*") if p.is_file()}
    assert {n for n in names if n.startswith("run/")} == in_folder
    entries = [json.loads(line) for line in exported.files["ledger/entries.jsonl"].splitlines()]
    assert {e["run_id"] for e in entries} == {RUN}
    assert len(entries) == len(list(exported.notary.ledger.entries(RUN)))


def test_it_verifies_with_and_without_the_key(exported: Exported) -> None:
    for key in (None, str(exported.key)):
        reasons, facts = verify(str(exported.zip), key)
        assert reasons == []
        assert f"run {RUN}: done, release gate: pass" in facts


def test_the_two_writers_of_the_container_agree(exported: Exported) -> None:
    assert container(exported.files) == exported.zip.read_bytes()
    odd = {"ünï.txt": b"x", "a/b": b""}
    assert container(odd) == bundle.archive(odd)


def run_verify(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """verify.py as an auditor runs it: isolated from this project."""
    command = [sys.executable, "-I", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env={"PATH": os.defpath})


def test_verify_py_runs_alone_on_the_folder_it_lies_in(exported: Exported, tmp_path: Path) -> None:
    with zipfile.ZipFile(exported.zip) as z:
        z.extractall(tmp_path / "unpacked")
    done = run_verify(tmp_path, "unpacked/verify.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verified: evidence, not a declaration of compliance" in done.stdout
    done = run_verify(tmp_path, "unpacked/verify.py", str(exported.zip), "--key", str(exported.key))
    assert done.returncode == 0, done.stdout
    (tmp_path / "unpacked/run/params.yaml").write_text("seed: 8\n")
    done = run_verify(tmp_path, "unpacked/verify.py")
    assert (done.returncode, done.stdout) == (
        1,
        "refused: run/params.yaml: was changed: its SHA-256 is not the one in the manifest\n",
    )


def test_verify_py_imports_the_standard_library_and_cryptography_alone() -> None:
    tree = ast.parse(SOURCE.read_text())
    modules = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    modules |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert modules - sys.stdlib_module_names == {"cryptography"}


# --- tampering -------------------------------------------------------------------------------------------------------


def test_a_run_that_no_checkpoint_covers_is_covered_by_the_export(tmp_path: Path) -> None:
    notary = make_notary(tmp_path)
    folder = make_run(notary, tmp_path / "records")
    data = {"reason": "read it", "shown": "Policy: <i>demo</i>"}
    notary.ledger.append(Event.APPROVED, run_id=RUN, actor="user:b", subject_digests={}, data=data)
    export_to(folder, notary, "user:a", tmp_path / "one.zip")
    assert verify(str(tmp_path / "one.zip"))[0] == []
    page = read(tmp_path / "one.zip")["index.html"].decode()
    assert "approved by <code>user:b</code>: “read it”" in page
    assert "&lt;i&gt;demo" in page
    export_to(folder, notary, "user:a", tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_what_became_known_later_stands_at_the_top_of_the_page(tmp_path: Path) -> None:
    notary = make_notary(tmp_path)
    folder = make_run(notary, tmp_path / "records")
    for event, data in (
        (Event.EVALUATED, {"verdict": "broken", "sentence": "a bound is broken."}),
        (Event.EVALUATION_STALE, {"reason": "the base model was changed", "because": OTHER}),
        (Event.EXPIRED, {"waiting_hours": 400}),
        (Event.ALARM, {"series": "length"}),
        (Event.INCIDENT_OPENED, {"incident_id": "inc-1", "severity": "serious", "summary": "<b>advice</b>"}),
        (Event.INCIDENT_CLOSED, {"incident_id": "inc-1", "cause": "a template"}),
    ):
        notary.ledger.append(event, run_id=RUN, actor="user:b", subject_digests={}, data=data)
    export_to(folder, notary, "user:a", tmp_path / "one.zip")
    assert verify(str(tmp_path / "one.zip"))[0] == []
    short = read(tmp_path / "one.zip")["index.html"].decode().partition("What was made from what")[0]
    for sentence in (
        "it was evaluated again: a bound is broken.",
        f"its evaluation is stale: the base model was changed (run {OTHER}).",
        "nobody decided on its release in time",
        "found a drift of length.",
        "incident inc-1 (serious): &lt;b&gt;advice",
        "incident inc-1 was closed: a template",
    ):
        assert sentence in short


def test_after_rotation_and_revocation_it_verifies_under_the_new_key(tmp_path: Path) -> None:
    notary = make_notary(tmp_path)
    folder = make_run(notary, tmp_path / "records")
    for change in (lambda: notary.rotate("user:a", "yearly"), lambda: notary.revoke("user:a", None, "lost")):
        change()
        active = notary.keyring.active()
        assert active is not None
        (tmp_path / "key.pem").write_text(active.public)
        export_to(folder, notary, "user:a", tmp_path / "evidence.zip")
        assert verify(str(tmp_path / "evidence.zip"), str(tmp_path / "key.pem"))[0] == []


def test_nothing_is_exported_from_a_log_that_does_not_verify(tmp_path: Path) -> None:
    notary = make_notary(tmp_path)
    folder = make_run(notary, tmp_path / "records")
    lines = notary.ledger.path.read_bytes().splitlines(keepends=True)
    notary.ledger.path.write_bytes(b"".join(lines[:-2]))
    with pytest.raises(GateRefused, match="does not verify"):
        export_to(folder, notary, "user:a", tmp_path / "evidence.zip")
    assert not (tmp_path / "evidence.zip").exists()


@pytest.mark.parametrize("how", ["changed", "missing", "added", "link"])
def test_records_that_were_changed_after_the_run_are_not_exported(tmp_path: Path, how: str) -> None:
    notary = make_notary(tmp_path)
    folder = make_run(notary, tmp_path / "records")
    sheet = folder / "datasheet-preferences.md"
    if how == "changed":
        sheet.write_text("# Better\n")
    elif how == "added":
        (folder / "more.md").write_text("x")
    else:
        sheet.unlink()
        if how == "link":
            sheet.symlink_to("/etc/passwd")
    with pytest.raises(GateRefused, match=r"is not the record that the ledger names"):
        export_to(folder, notary, "user:a", tmp_path / "evidence.zip")


def test_many_runs_are_exported_one_after_the_other_as_if_alone(exported: Exported, tmp_path: Path) -> None:
    made = dict(bundle.export([exported.other, exported.run], exported.notary, "user:a"))
    assert list(made) == [exported.other, exported.run]
    assert made[exported.run] == exported.zip.read_bytes()
    (tmp_path / "other.zip").write_bytes(made[exported.other])
    assert verify(str(tmp_path / "other.zip"), str(exported.key))[0] == []


def test_a_run_that_has_not_ended_is_not_exported(tmp_path: Path) -> None:
    notary = make_notary(tmp_path)
    notary.ledger.append(Event.RUN_STARTED, run_id="alive", actor="user:a", subject_digests={}, data={})
    with pytest.raises(GateRefused, match="has not ended"):
        export_to(tmp_path / "records/alive", notary, "user:a", tmp_path / "evidence.zip")


def test_an_unknown_run_is_bad_input(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not know this run"):
        export_to(tmp_path / "nothing", exported.notary, "user:a", tmp_path / "evidence.zip")
