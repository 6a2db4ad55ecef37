"""Models signed in the format of OpenSSF Model Signing: by this software, by the package's own command, by verify.py."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

pytest.importorskip("model_signing")

from governance import dsse, model_signature
from governance.digest import sha256_path
from governance.errors import GateRefused
from governance.keys import ACTIVE, RETIRED, REVOKED, Key
from governance.verify_bundle import verify
from tests.governance import runs
from tests.governance.bundles import read, says
from tests.governance.runs import export_to, make_notary, make_run

PRIVATE = generate_private_key(SECP256R1())
KEY = Key(
    dsse.keyid_of(PRIVATE.public_key()), dsse.public_pem(PRIVATE.public_key()), ACTIVE, "2026-01-01T00:00:00+00:00"
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "policy"
    (folder / "tokenizer").mkdir(parents=True)
    for name in ("model.safetensors", "config.json", ".gitattributes", "tokenizer/vocabulär.txt"):
        (folder / name).write_text(f"content of {name}")
    return folder


@pytest.fixture
def signature(model: Path, tmp_path: Path) -> Path:
    model_signature.sign(model, PRIVATE, tmp_path / "signatures/policy.sig")
    return tmp_path / "signatures/policy.sig"


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed": (
        lambda m: (m / "model.safetensors").write_text("other"),
        "over .*/policy: model.safetensors was changed.$",
    ),
    "missing": (lambda m: (m / "config.json").unlink(), "config.json is missing.$"),
    "extra": (lambda m: (m / "code.py").write_text("import os"), "code.py is extra.$"),
    "hidden": (lambda m: (m / ".gitattributes").write_text("x"), ".gitattributes was changed"),
    "moved": (
        lambda m: (m / "config.json").rename(m / "tokenizer/config.json"),
        "config.json is missing, tokenizer/config.json is extra",
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_changed_missing_or_extra_file_is_named(model: Path, signature: Path, kind: str) -> None:
    model_signature.check(model, signature, [KEY])
    change, sentence = CHANGES[kind]
    change(model)
    with pytest.raises(GateRefused, match=sentence):
        model_signature.check(model, signature, [KEY])


def test_only_a_key_that_counts_vouches(model: Path, signature: Path) -> None:
    model_signature.check(model, signature, [replace(KEY, status=RETIRED)])
    with pytest.raises(GateRefused, match="revoked key"):
        model_signature.check(model, signature, [replace(KEY, status=REVOKED)])
    other = generate_private_key(SECP256R1())
    model_signature.sign(model, other, signature.with_name("other.sig"))
    with pytest.raises(GateRefused, match="wrong key"):
        model_signature.check(model, signature.with_name("other.sig"), [KEY])
    forged = json.loads(signature.with_name("other.sig").read_text())
    forged["verificationMaterial"] = json.loads(signature.read_text())["verificationMaterial"]
    signature.write_text(json.dumps(forged))
    with pytest.raises(GateRefused, match="was changed or forged"):
        model_signature.check(model, signature, [KEY])
    for text in ("", "[]", "{}"):
        signature.write_text(text)
        with pytest.raises(GateRefused, match="is no signature"):
            model_signature.check(model, signature, [KEY])


def test_the_package_verifies_it_without_this_software(model: Path, signature: Path, tmp_path: Path) -> None:
    (tmp_path / "public.pem").write_text(KEY.public)
    given = ["--signature", str(signature), "--public_key", str(tmp_path / "public.pem"), "--no-ignore-git-paths"]
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(model), *given]
    assert subprocess.run(command, check=False).returncode == 0
    (model / "code.py").write_text("import os")
    assert subprocess.run(command, check=False, capture_output=True).returncode != 0


@pytest.mark.parametrize(
    ("signed", "key", "sentence"),
    [
        ("same", "own", ""),
        ("same", "revoked", ""),
        ("same", "other", "run/signatures/policy.sig: wrong key"),
        ("other", "own", "run/signatures/policy.sig: lists other files than those of the policy that the run made"),
    ],
)
def test_a_bundle_holds_it_and_its_verifier_reads_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signed: str, key: str, sentence: str
) -> None:
    made, plain = sha256_path(model), runs.digest
    monkeypatch.setattr(runs, "digest", lambda run, path: made if path == "data/models/policy" else plain(run, path))
    if signed == "other":
        (model / "model.safetensors").write_text("of another run")
    notary = make_notary(tmp_path)
    notary.ledger.append("run.configuration", run_id="", actor="user:a", subject_digests={}, data={})
    notary.seal("user:a")

    def add(folder: Path) -> None:
        private = PRIVATE if key == "other" else notary.keyring.private()
        model_signature.sign(model, private, folder / "signatures/policy.sig")

    run = make_run(notary, tmp_path / "records", add=add)
    if key == "revoked":
        notary.revoke("user:a", None, "lost")
    export_to(run, notary, "user:a", tmp_path / "evidence.zip")
    assert "run/signatures/policy.sig" in read(tmp_path / "evidence.zip")
    reasons, facts = verify(str(tmp_path / "evidence.zip"))
    if sentence:
        says(reasons, sentence)
        assert len(reasons) == 1
    else:
        assert reasons == []
        since = " (by a key that was revoked since)" if key == "revoked" else ""
        assert f"models signed: policy{since}" in facts
