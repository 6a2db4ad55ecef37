"""Every tampering with a bundle is refused, with its reason: bytes, files, digests, lineage, mapping, the zip itself."""

import base64
import json
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from governance import dsse
from governance.digest import canonical_json, sha256_bytes
from governance.verify_bundle import verify
from tests.governance.bundles import Exported, Files, refused, says
from tests.governance.runs import export_to, make_notary, make_run, rewrite


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


def test_a_manifest_that_would_end_the_program_is_refused(exported: Exported, tmp_path: Path) -> None:
    outer = json.loads(exported.files["manifest.json"])
    inner = json.loads(base64.b64decode(outer["payload"]))
    other_curve = ec.generate_private_key(ec.SECP384R1()).public_key()
    unknown_curve = (  # SM2, which is not supported
        "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoEcz1UBgi0DQgAEMsQXjxsKKGKFQQWxQZ+5KyUnQ5jR\n"
        "FYp3p2gxpiR5rXOdfCxN8zWJ1KZ6tMF1xBx3dRmRzQzFGmXAtIXrtJ6HWg==\n-----END PUBLIC KEY-----\n"
    )
    inside = {
        b"[" * 100_000: "manifest.json: is not JSON",
        keys_in(inner, dsse.public_pem(other_curve)): "is not a key on the curve P-256",
        keys_in(inner, unknown_curve): "is not a public key",
    }
    for payload, sentence in inside.items():
        envelope = json.dumps(outer | {"payload": base64.b64encode(payload).decode()}).encode()
        says(refused(tmp_path, exported.files | {"manifest.json": envelope}), sentence)


def keys_in(manifest: dict[str, Any], pem: str) -> bytes:
    return json.dumps(manifest | {"keys": [manifest["keys"][0] | {"public": pem}]}).encode()


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
    says(verify(str(exported.zip), "")[0], "cannot be read")  # a variable of a script that was never set


def edited_entry(files: Files) -> Files:
    lines = files["ledger/entries.jsonl"].replace(b'"verdict":"pass"', b'"verdict":"fail"')
    return files | {"ledger/entries.jsonl": lines}


def dropped_entry(files: Files) -> Files:
    lines = files["ledger/entries.jsonl"].splitlines(keepends=True)
    return files | {"ledger/entries.jsonl": b"".join(lines[:-1])}


def without_line(number: int) -> Callable[[Files], Files]:
    def change(files: Files) -> Files:
        lines = files["ledger/entries.jsonl"].splitlines(keepends=True)
        return files | {"ledger/entries.jsonl": b"".join(lines[:number] + lines[number + 1 :])}

    return change


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


def without_a_row(files: Files) -> Files:
    document = json.loads(files["mapping.json"])
    del document["tables"][0]["rows"][-1]
    return files | {"mapping.json": json.dumps(document).encode()}


INSIDE: dict[str, tuple[Callable[[Files], Files], str]] = {
    "edited entry": (edited_entry, "was edited: its content does not have the hash"),
    "entry hashed anew": (rehashed_entry, "Merkle proof does not lead to the root"),
    "end left out": (dropped_entry, "the run has no last entry"),
    "start left out": (without_line(0), "does not begin with the start of the run"),
    "middle left out": (without_line(5), "has 7 entries before the end of the run, which names 8: some were left out"),
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
    "not applicable, says the mapping alone": (
        lambda f: broken_mapping(f, status="not applicable", note="declared: no", evidence=[]),
        "1.a: is not applicable, but nobody declared it",
    ),
    "a row left out": (without_a_row, "eu_ai_act_annex_iv has 22 of its 23 rows"),
    "no page": (lambda f: {n: d for n, d in f.items() if n != "index.html"}, "index.html: is missing, and every"),
    "another kind of file": (lambda f: f | {"setup.exe": b"MZ"}, "setup.exe: is no file of a bundle"),
    "twins by case": (lambda f: f | {"schemas/Entry.json": b"{}"}, "is the same name as 'schemas/Entry.json'"),
    "twins by accent": (
        lambda f: f | {"schemas/caf\u00e9": b"", "schemas/cafe\u0301": b""},
        "'schemas/caf\u00e9': is the same name as 'schemas/cafe\u0301' on some systems",
    ),
    "NaN": (lambda f: f | {"mapping.json": b'{"tables":NaN}'}, "mapping.json: is not JSON (NaN is not a number)"),
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


def test_a_name_cannot_forge_a_line_of_what_is_printed(exported: Exported, tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(exported.zip) as z:
        z.extractall(folder)
    (folder / "x\nverified: all of it").write_text("")
    done = subprocess.run([sys.executable, folder / "verify.py"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "refused: 'x\\nverified: all of it': not a plain file name\n")
