"""The bundle: deterministic, complete, verified by a program that shares no code with it; every tampering refused."""

import ast
import json
import os
import re
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from governance import bundle, dsse
from governance.digest import canonical_json, sha256_bytes
from governance.errors import BadInput, GateRefused
from governance.ledger import Event
from governance.mapping import TABLES, mapping, read_declarations, reference
from governance.verify_bundle import container, verify
from tests.governance.runs import OTHER, RUN, export_to, make_notary, make_run, rewrite

Files = dict[str, bytes]
SOURCE = Path(bundle.__file__).with_name("verify_bundle.py")


class Exported:
    """A project with two runs, and the bundle of the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notary = make_notary(folder)
        self.run = make_run(self.notary, folder / "records")
        self.other = make_run(self.notary, folder / "records", OTHER)
        self.zip = folder / "evidence.zip"
        export_to(self.run, self.notary, "user:a", self.zip)
        self.files = read(self.zip)
        self.key = folder / "key.pem"
        active = self.notary.keyring.active()
        assert active is not None
        self.key.write_text(active.public)

    def signed_anew(self, files: Files, key: object = None) -> Files:
        """The files under a manifest by the project's own key, as somebody inside could make it, or by another."""
        private = key or self.notary.keyring.private()
        listed = {n: sha256_bytes(d) for n, d in files.items() if n != "manifest.json"}
        keys = [asdict(k) for k in self.notary.keyring.keys().values()]
        if key is not None:
            public = private.public_key()
            keys = [keys[0] | {"keyid": dsse.keyid_of(public), "public": dsse.public_pem(public)}]
        body = {"format": bundle.FORMAT, "run_id": RUN, "files": listed, "keys": keys}
        return files | {"manifest.json": dsse.sign(bundle.PAYLOAD_TYPE, canonical_json(body), private).as_bytes()}


def read(path: Path) -> Files:
    with zipfile.ZipFile(path) as z:
        return {n: z.read(n) for n in z.namelist()}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(tmp_path_factory.mktemp("exported"))


def refused(tmp_path: Path, files: Files | bytes, key: Path | None = None) -> list[str]:
    target = tmp_path / "tampered.zip"
    target.write_bytes(files if isinstance(files, bytes) else bundle.archive(files))
    reasons, _ = verify(str(target), str(key) if key else None)
    assert reasons
    assert all("\n" not in r for r in reasons)
    return reasons


def says(reasons: list[str], sentence: str) -> None:
    assert any(sentence in r for r in reasons), reasons


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


def test_no_changed_byte_of_the_file_goes_unnoticed(exported: Exported, tmp_path: Path) -> None:
    content = exported.zip.read_bytes()
    step = max(1, len(content) // 150)
    for at in [*range(0, len(content), step), *range(len(content) - 60, len(content))]:
        changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        refused(tmp_path, changed)
    refused(tmp_path, content + b"\n")
    refused(tmp_path, content[:-1])
    refused(tmp_path, b"")


@pytest.mark.parametrize("name", ["run/params.yaml", "run/run.json", "index.html", "verify.py", "mapping.json"])
def test_a_changed_missing_or_extra_file_is_named(exported: Exported, tmp_path: Path, name: str) -> None:
    files = exported.files
    says(refused(tmp_path, files | {name: files[name] + b" "}), f"{name}: was changed")
    says(refused(tmp_path, {n: d for n, d in files.items() if n != name}), f"{name}: is missing")
    says(refused(tmp_path, files | {"run/more.txt": b"x"}), "run/more.txt: is not in the manifest: it was added")


def test_without_a_manifest_it_is_no_bundle(exported: Exported, tmp_path: Path) -> None:
    says(
        refused(tmp_path, {n: d for n, d in exported.files.items() if n != "manifest.json"}),
        "manifest.json: is missing",
    )
    says(refused(tmp_path, exported.files | {"manifest.json": b"{}"}), "manifest.json: is not a signed list")


def test_swapped_datasheets_are_named_even_under_the_right_key(exported: Exported, tmp_path: Path) -> None:
    name = "run/datasheet-preferences.md"
    swapped = exported.files | {name: (exported.other / "datasheet-preferences.md").read_bytes()}
    says(refused(tmp_path, swapped), f"{name}: was changed")
    reasons = refused(tmp_path, exported.signed_anew(swapped), exported.key)
    says(reasons, f"{name}: is not the file that the ledger names: it was changed, or is of another run")


def test_another_key_is_refused(exported: Exported, tmp_path: Path) -> None:
    forged = exported.signed_anew(exported.files, generate_private_key(SECP256R1()))
    says(refused(tmp_path, forged, exported.key), "wrong key")
    says(refused(tmp_path, forged), "ledger/checkpoint.json: wrong key")
    (tmp_path / "other.pem").write_text(dsse.public_pem(generate_private_key(SECP256R1()).public_key()))
    says(refused(tmp_path, exported.files, tmp_path / "other.pem"), "wrong key")
    (tmp_path / "bad.pem").write_text("nonsense")
    says(refused(tmp_path, exported.files, tmp_path / "bad.pem"), "is not a public key")
    says(refused(tmp_path, exported.files, tmp_path / "absent.pem"), "cannot be read")


def edited_entry(files: Files) -> Files:
    lines = files["ledger/entries.jsonl"].replace(b'"verdict":"pass"', b'"verdict":"fail"')
    return files | {"ledger/entries.jsonl": lines}


def dropped_entry(files: Files) -> Files:
    lines = files["ledger/entries.jsonl"].splitlines(keepends=True)
    return files | {"ledger/entries.jsonl": b"".join(lines[:-1])}


def rehashed_entry(files: Files) -> Files:
    lines = [json.loads(x) for x in files["ledger/entries.jsonl"].splitlines()]
    lines[3]["actor"] = "user:mallory"
    lines[3]["entry_hash"] = sha256_bytes(canonical_json({k: v for k, v in lines[3].items() if k != "entry_hash"}))
    return files | {"ledger/entries.jsonl": b"".join(canonical_json(x) + b"\n" for x in lines)}


def other_verdict(files: Files) -> Files:
    return rewrite(files, "run/run.json", gate={"verdict": "refuse", "reasons": []})


def broken_mapping(files: Files, **row: object) -> Files:
    document = json.loads(files["mapping.json"])
    document["tables"][0]["rows"][0] |= row
    return files | {"mapping.json": json.dumps(document).encode()}


INSIDE: dict[str, tuple[Callable[[Files], Files], str]] = {
    "edited entry": (edited_entry, "was edited: its content does not have the hash"),
    "entry hashed anew": (rehashed_entry, "Merkle proof does not lead to the root"),
    "end left out": (dropped_entry, "the run has no last entry"),
    "other verdict": (other_verdict, "the verdict refuse is not that of the ledger"),
    "no entries": (lambda f: f | {"ledger/entries.jsonl": b""}, "holds no entry"),
    "no proofs": (lambda f: f | {"ledger/proofs.json": b"{}"}, "Merkle proof does not lead"),
    "mapping to nothing": (
        lambda f: broken_mapping(f, status="evidence", evidence=[{"file": "run/absent.md", "sha256": "0" * 64}]),
        "names run/absent.md, which does not exist",
    ),
    "mapping to another digest": (
        lambda f: broken_mapping(f, status="evidence", evidence=[{"file": "run/run.json", "sha256": "0" * 64}]),
        "run/run.json does not have the digest that it names",
    ),
    "mapping that says nothing": (lambda f: broken_mapping(f, status="not applicable", note=""), "says neither where"),
    "not JSON": (lambda f: f | {"mapping.json": b"]"}, "mapping.json: is not JSON"),
    "a name twice": (lambda f: f | {"mapping.json": b'{"tables":[],"tables":[]}'}, "a name stands twice"),
    "other form": (lambda f: f | {"mapping.json": b"[]"}, "does not have the form"),
}


@pytest.mark.parametrize("name", INSIDE)
def test_what_somebody_with_the_key_changes_is_named(exported: Exported, tmp_path: Path, name: str) -> None:
    change, sentence = INSIDE[name]
    says(refused(tmp_path, exported.signed_anew(change(exported.files)), exported.key), sentence)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ppo:data/models/reward": "e" * 64}, "stage ppo: used a stale data/models/reward"),
        ({"reports/evaluate": {"reward_sha256": "e" * 64}}, "another reward model than the one made: stale"),
        ({"reports/evaluate": {"policy_sha256": "e" * 64}}, "another policy model than the one made: stale"),
        ({"reports/reward": {"reward_sha256": "e" * 64}}, "another reward model than the one made: stale"),
        ({"lineage/reward": {"base_sha256": "e" * 64}}, "name different bases"),
        ({"lineage/policy": {"base_sha256": None}}, "name different bases"),
        ({"reports/evaluate": {"base_sha256": "e" * 64}}, "name different bases"),
    ],
)
def test_a_stale_model_or_another_base_is_refused(tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
    notary = make_notary(tmp_path)
    folder = make_run(notary, tmp_path / "records", **changes)
    export_to(folder, notary, "user:a", tmp_path / "evidence.zip")
    reasons, _ = verify(str(tmp_path / "evidence.zip"))
    says(reasons, sentence)
    assert len(reasons) == 1


def zipped(files: Files, add: Callable[[zipfile.ZipFile], None]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as z:
        for name, data in files.items():
            z.writestr(name, data)
        add(z)
    return buffer.getvalue()


def link(z: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("run/link")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    z.writestr(info, "/etc/passwd")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("add", "sentence"),
    [
        (lambda z: z.writestr("../../outside.txt", b"x"), "path traversal"),
        (lambda z: z.writestr("run\\..\\outside.txt", b"x"), "path traversal"),
        (lambda z: z.writestr("/etc/outside.txt", b"x"), "absolute name"),
        (lambda z: z.writestr("C:/outside.txt", b"x"), "absolute name"),
        (lambda z: z.writestr("run/run.json", b"{}"), "duplicate name"),
        (link, "a symbolic link"),
        (lambda z: z.writestr("zeros", bytes(60_000_000), zipfile.ZIP_DEFLATED), "zip bomb"),
        (lambda z: z.mkdir("run/empty"), "not a plain file name"),
    ],
)
def test_a_zip_that_does_what_no_bundle_does(
    exported: Exported, tmp_path: Path, add: Callable[[zipfile.ZipFile], None], sentence: str
) -> None:
    says(refused(tmp_path, zipped(exported.files, add)), sentence)


def test_a_zip_that_claims_more_than_it_holds(exported: Exported, tmp_path: Path) -> None:
    many = zipped({}, lambda z: [z.writestr(f"{i}", b"") for i in range(10_001)])  # type: ignore[arg-type,return-value]
    says(refused(tmp_path, many), "zip bomb")


def test_links_in_a_folder_are_refused(exported: Exported, tmp_path: Path) -> None:
    with zipfile.ZipFile(exported.zip) as z:
        z.extractall(tmp_path)
    (tmp_path / "run/link").symlink_to("/etc/passwd")
    says(verify(str(tmp_path))[0], "'run/link': a symbolic link")


# --- export ----------------------------------------------------------------------------------------------------------


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


# --- page and mapping ------------------------------------------------------------------------------------------------


def test_the_page_opens_from_the_disk_and_escapes_what_it_shows(exported: Exported) -> None:
    page = exported.files["index.html"].decode()
    assert "This is evidence, not a declaration of compliance." in page
    assert "the annotators &lt;b&gt;and&lt;/b&gt; their votes" in page
    assert not re.search(r"<script|https?://(?!www\.w3\.org/2000/svg)", page)

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            for name, value in attrs:
                if name in ("href", "src"):
                    assert value in exported.files, value

    Links().feed(page)
    svg = ElementTree.fromstring(re.search(r"<svg.*?</svg>", page, re.DOTALL)[0])  # type: ignore[index]
    names = {t.text for t in svg.iter("{http://www.w3.org/2000/svg}text") if t.get("class") == "name"}
    assert {"ingest", "sft", "reward", "ppo", "evaluate", "data/raw/hh_rlhf", "release gate"} <= names
    boxes = {g[0].text: float(g[1].get("x") or 0) for g in svg if g.tag.endswith("}g")}
    assert boxes["sft"] < boxes["reward"] < boxes["ppo"] < boxes["evaluate"] < boxes["release gate"]


def test_every_row_of_every_list_is_mapped(exported: Exported) -> None:
    tables = {t["id"]: t["rows"] for t in json.loads(exported.files["mapping.json"])["tables"]}
    assert {name: len(rows) for name, rows in tables.items()} == {
        "eu_ai_act_annex_iv": 23,
        "eu_ai_act_articles": 9,
        "iso_42001_annex_a": 38,
        "nist_ai_rmf": 72,
        "gdpr": 6,
    }
    rows = {r["id"]: r for r in tables["eu_ai_act_annex_iv"]}
    assert rows["2.d"]["status"] == "evidence"
    assert {e["file"] for e in rows["2.d"]["evidence"]} == {"run/datasheet-preferences.md"}
    assert rows["8"]["status"] == "needs a person"
    assert rows["8"]["note"].startswith("write: the EU declaration of conformity")


def test_what_a_person_declares_is_in_the_mapping() -> None:
    declared = read_declarations("eu_ai_act_annex_iv:\n  1.f: {not_applicable: part of no product}\n", "d.yaml")
    rows = {r["id"]: r for r in mapping({}, declared)["tables"][0]["rows"]}
    assert (rows["1.f"]["status"], rows["1.f"]["note"]) == ("not applicable", "declared: part of no product")
    assert rows["1.e"]["status"] == "needs a person"


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "other_list: {}",
        "eu_ai_act_annex_iv: {99: {not_applicable: x}}",
        "eu_ai_act_annex_iv: {1.f: {}}",
        "eu_ai_act_annex_iv: {1.f: {not_applicable: ' '}}",
        "eu_ai_act_annex_iv: {1.f: nothing}",
        "- a",
    ],
)
def test_declarations_that_say_nothing_valid_are_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match=r"d\.yaml"):
        read_declarations(text, "d.yaml")


def test_a_row_without_evidence_says_what_a_person_writes() -> None:
    for table in TABLES:
        for row in reference(table.id):
            assert row["evidence"] or row["person"], row
