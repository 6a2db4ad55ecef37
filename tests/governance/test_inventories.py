"""Bill of materials, Croissant and provenance are what their specifications say, by the reference validators."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from governance.bom import VERSIONS, Contents, bom
from governance.croissant import CONFORMS_TO, croissant
from governance.datasheet import DatasetFacts, Declared
from governance.digest import sha256_path
from governance.mapping import reference
from governance.model_card import ModelFacts
from governance.provenance import StageFacts, statement

DECLARED = Declared({"DIST-04": ("MIT", "declared in README.md"), "MOTI-02": ("Example Lab", "declared by A")})
METRICS = [
    {"name": "accuracy/test", "value": 0.61234, "low": 0.55, "high": 0.67, "n": 350},
    {"name": "accuracy/empty", "value": None, "low": None, "high": None, "n": 0},
    {"name": "loss", "value": 0.5, "low": None, "high": None, "n": None},
]


def votes(folder: Path) -> DatasetFacts:
    file = folder / "votes.parquet"
    table = pl.DataFrame(
        {
            "item_id": ["a", "b", None],
            "choice": pl.Series([1, 0, 1], dtype=pl.Int8),
            "confidence": [0.5, None, 1.0],
            "simulated": [True, True, False],
            "responses": [["x", "y"], ["z"], []],
            "messages": [[{"role": "user", "content": "hi"}] * 2, [{"role": "user", "content": "yo"}], []],
            "scores": [{"clarity": 3}, {"clarity": 1}, {"clarity": 2}],
            "deep": [[{"a": {"b": 1}}], [], []],
        }
    )
    table.write_parquet(file)
    columns = {name: str(kind) for name, kind in table.schema.items()}
    return DatasetFacts(
        name="audits/votes", path=file.name, sha256=sha256_path(file), rows=3, columns=columns, pii={"e-mail": 2}
    )


def model(kind: str) -> tuple[str, ModelFacts]:
    facts = ModelFacts(
        name=f"demo-{kind}",
        kind=kind,
        sha256="d" * 64,
        base_sha256="b" * 64,
        git_commit="abc",
        mlflow_run_id="m",
        metrics=METRICS,
        intended_use="Research.",
        limits="Small.",
        simulated="The panel is simulated.",
    )
    return f"data/models/{kind}", facts


@pytest.fixture
def contents(tmp_path: Path) -> Contents:
    requirements = "# pins\ntorch==2.13.0\nuvicorn[standard]==0.35.0\nPy_Yaml==6.0+local ; python_version > '3'\n"
    made_from = {"data/models/policy": ["data/models/sft", "votes.parquet", "data/absent"]}
    return Contents(
        "20260101T000000Z-0a1b2c3d",
        "2026-01-01T00:00:00+00:00",
        "0.1.0",
        [model("base"), model("sft"), model("reward"), model("judge"), model("policy")],
        [(votes(tmp_path), DECLARED), (DatasetFacts("plain", "p.parquet", "e" * 64, 1), Declared({}))],
        made_from,
        requirements,
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_the_bill_is_strictly_valid(contents: Contents, version: str) -> None:
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema").SchemaVersion.from_version(version)
    text = json.dumps(bom(contents, version))
    assert list(validation.JsonStrictValidator(schema).validate_str(text, all_errors=True) or []) == []
    broken = json.loads(text)
    broken["components"][0]["modelCard"]["more"] = 1
    assert validation.JsonStrictValidator(schema).validate_str(json.dumps(broken)) is not None


def test_the_bill_holds_models_data_software_and_relations(contents: Contents) -> None:
    document = bom(contents, "1.6")
    parts = {c["bom-ref"]: c for c in document["components"]}
    policy = parts["model:data/models/policy"]
    assert policy["hashes"] == [{"alg": "SHA-256", "content": "d" * 64}]
    assert policy["modelCard"]["modelParameters"]["approach"] == {"type": "reinforcement-learning"}
    assert policy["modelCard"]["modelParameters"]["datasets"] == [{"ref": "data:votes.parquet"}]
    metrics = policy["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert metrics[0]["confidenceInterval"] == {"lowerBound": "0.55", "upperBound": "0.67"}
    assert [m["type"] for m in metrics] == ["accuracy/test", "loss"]  # what was not measured is no metric
    assert "The panel is simulated." in policy["modelCard"]["considerations"]["technicalLimitations"]
    data = parts["data:votes.parquet"]["data"][0]
    assert data["governance"] == {"owners": [{"organization": {"name": "Example Lab"}}]}
    assert data["sensitiveData"] == ["e-mail: 2"]
    (nobody,) = parts["data:p.parquet"]["data"][0]["governance"]["owners"]
    assert nobody["organization"]["name"].startswith("Not known: nobody declared whose data these are; ask ")
    assert {r for r in parts if r.startswith("pkg:")} == {
        "pkg:pypi/torch@2.13.0",
        "pkg:pypi/uvicorn@0.35.0",
        "pkg:pypi/py-yaml@6.0%2Blocal",
    }
    needs = {d["ref"]: d["dependsOn"] for d in document["dependencies"]}
    assert needs["model:data/models/policy"] == ["data:votes.parquet", "model:data/models/sft"]
    assert bom(contents, "1.6") == document


def test_croissant_is_valid_and_its_records_load(tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    facts = votes(tmp_path)
    document = croissant(facts, DECLARED, "2026-01-01")
    file = tmp_path / "croissant.json"
    file.write_text(json.dumps(document))
    loaded = mlcroissant.Dataset(jsonld=str(file))
    assert not loaded.metadata.ctx.issues.errors
    assert not loaded.metadata.ctx.issues.warnings
    assert str(loaded.metadata.ctx.conforms_to.value) == CONFORMS_TO[0]
    records = list(loaded.records("rows"))
    assert [r["rows/choice"] for r in records] == [1, 0, 1]
    assert [r["rows/item_id"] for r in records] == [b"a", b"b", None]
    assert records[0]["rows/responses"] == [b"x", b"y"]
    turn = {"rows/messages/role": b"user", "rows/messages/content": b"hi"}
    assert records[0]["rows/messages"] == [turn, turn]
    assert records[0]["rows/scores"] == {"rows/scores/clarity": 3}
    assert "Columns outside the record set: deep." in document["description"]


def test_croissant_answers_every_term_of_the_vocabulary(tmp_path: Path) -> None:
    facts = replace(votes(tmp_path), per_item="2 items, with 1 to 2 annotations each, 1.5 at the median.")
    platform = {"dataAnnotationPlatform": ("Example Crowd", "declared by A")}
    document = croissant(facts, Declared(DECLARED.answers | platform), "2026-01-01")
    assert document["rai:annotationsPerItem"] == facts.per_item
    assert document["rai:dataAnnotationPlatform"] == "Example Crowd"
    assert document["rai:machineAnnotationTools"] == "Not known; ask the annotation vendor."
    simulated = croissant(replace(facts, simulated="The panel is simulated."), DECLARED, "2026-01-01")
    assert simulated["rai:machineAnnotationTools"] == "The panel is simulated."
    terms = {f"rai:{row['property']}" for row in reference("croissant_rai")}
    assert len(terms) == 20
    assert terms <= document.keys()
    assert document["rai:personalSensitiveInformation"].startswith("Personal data found by pattern: e-mail: 2.")
    assert document["rai:dataSocialImpact"] == (
        "Not known (analysis of impact on data subjects); ask the data protection officer."
    )
    assert document["conformsTo"] == CONFORMS_TO


def stage(**changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "stage": "sft",
        "command": "python -m tasks.sft",
        "inputs": {"data/processed/sft.parquet": "1" * 64},
        "outputs": {"data/models/sft": "2" * 64},
        "parameters": {"sft": {"epochs": 1}},
        "seed": 7,
        "seconds": 1.5,
        "git_commit": "a" * 40,
        "mlflow_run_id": "m",
    }
    return statement(StageFacts(**known | changes))


def test_provenance_names_materials_and_products() -> None:
    s = stage(
        git_commit="a" * 40 + "+changes", packages_sha256="3" * 64, patch_sha256="4" * 64, machine={"python": "3"}
    )
    assert (s["_type"], s["predicateType"]) == ("https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1")
    assert s["subject"] == [{"name": "data/models/sft", "digest": {"sha256": "2" * 64}}]
    build = s["predicate"]["buildDefinition"]
    assert build["resolvedDependencies"] == [
        {"uri": "git", "digest": {"gitCommit": "a" * 40}},
        {"name": "data/processed/sft.parquet", "digest": {"sha256": "1" * 64}},
        {"name": "requirements.lock", "digest": {"sha256": "3" * 64}},
    ]
    assert build["internalParameters"] == {"working_tree_changed": True, "patch_sha256": "4" * 64}
    assert build["externalParameters"]["parameters"] == {"sft": {"epochs": 1}}


def test_provenance_outside_git_names_no_commit() -> None:
    s = stage(git_commit="none")
    assert all("uri" not in d for d in s["predicate"]["buildDefinition"]["resolvedDependencies"])
    assert s["predicate"]["buildDefinition"]["internalParameters"] == {"working_tree_changed": False}
