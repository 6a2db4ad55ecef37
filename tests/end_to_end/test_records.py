"""The evidence of a real run whose stages are cached: complete, valid by the reference validators, verified as an auditor
does it."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.end_to_end.conftest import Project

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("pipeline")]


@pytest.fixture(scope="module")
def record(judged: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    return judged[1]


@pytest.fixture(scope="module")
def unpacked(project: Project, record: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = project.folder / "evidence.zip"
    assert project.typed("evidence", "export", record["run_id"], "--out", str(bundle)).returncode == 0
    assert project.typed("evidence", "key", "--out", "public.pem").returncode == 0
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(bundle) as z:
        z.extractall(folder)
    return folder


def test_an_auditor_verifies_it(project: Project, unpacked: Path) -> None:
    key = str(project.folder / "public.pem")
    for what in ([], [str(project.folder / "evidence.zip")]):
        command = [sys.executable, "-I", "verify.py", *what, "--key", key]
        done = subprocess.run(
            command, cwd=unpacked, capture_output=True, text=True, check=False, env={"PATH": os.defpath}
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_records_are_as_their_schemas_say(record: dict[str, Any], unpacked: Path) -> None:
    def problems(name: str, file: Path) -> list[str]:
        schema = json.loads((unpacked / "schemas" / f"{name}.json").read_text())
        return [e.message for e in Draft202012Validator(schema).iter_errors(json.loads(file.read_text()))]

    for name in ("run", "evaluation", "golden-audit"):
        assert problems(name, unpacked / f"run/{name}.json") == []
    sheets, stages = list((unpacked / "run").glob("datasheet-*.json")), list((unpacked / "run/stages").iterdir())
    assert len(sheets) >= 4
    assert {f.stem for f in stages} == {s["name"] for s in record["stages"]}
    for name, files in (("datasheet", sheets), ("stage", stages)):
        for file in files:
            assert problems(name, file) == [], file


@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_the_bill_of_materials_is_valid(unpacked: Path, version: str) -> None:
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema").SchemaVersion.from_version(version)
    text = (unpacked / f"run/bom-{version}.json").read_text()
    assert list(validation.JsonStrictValidator(schema).validate_str(text, all_errors=True) or []) == []
    needs = {d["ref"]: d["dependsOn"] for d in json.loads(text)["dependencies"]}
    assert {"model:data/models/sft", "model:data/models/reward"} <= set(needs["model:data/models/policy"])
    assert not any("audits" in ref for ref in needs["model:data/models/policy"])


def test_croissant_loads_the_rows(project: Project, unpacked: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    for file in (unpacked / "run").glob("croissant-*.json"):
        (where,) = json.loads(file.read_text())["distribution"]
        mapping = {where["@id"]: str(project.folder / where["contentUrl"])}
        dataset = mlcroissant.Dataset(jsonld=str(file), mapping=mapping)
        assert not dataset.metadata.ctx.issues.errors
        assert next(iter(dataset.records("rows")))


def test_every_model_is_signed(project: Project, unpacked: Path) -> None:
    verifying, hashing = pytest.importorskip("model_signing.verifying"), pytest.importorskip("model_signing.hashing")
    signatures = sorted((unpacked / "run/signatures").iterdir())
    assert [s.stem for s in signatures] == ["base", "judge", "policy", "reward", "sft"]
    config = verifying.Config().use_elliptic_key_verifier(public_key=project.folder / "public.pem")
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False))
    for signature in signatures:
        config.verify(project.folder / "data/models" / signature.stem, signature)
    with pytest.raises(ValueError, match="mismatch"):
        config.verify(project.folder / "data/models/sft", unpacked / "run/signatures/policy.sig")


def test_every_stage_has_its_provenance(record: dict[str, Any], unpacked: Path) -> None:
    for stage in record["stages"]:
        told = json.loads((unpacked / f"run/provenance/{stage['name']}.json").read_text())
        subjects = {s["name"]: s["digest"]["sha256"] for s in told["subject"]}
        assert {o["path"]: o["sha256"] for o in stage["outputs"]} == subjects
