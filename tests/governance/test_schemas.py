"""The published schemas describe what is really written, and refuse what is not."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from governance import bundle
from governance.datasheet import DatasetFacts, Declared, document
from governance.entry import Event
from tests.governance.bundles import read
from tests.governance.runs import export_to, make_notary, make_run

SCHEMAS = Path(bundle.__file__).parent / "schemas"
FORMAT = Path(bundle.__file__).parents[1] / "docs/record-format.md"


def schema(name: str) -> Draft202012Validator:
    content = json.loads((SCHEMAS / f"{name}.json").read_text())
    Draft202012Validator.check_schema(content)
    return Draft202012Validator(content)


def problems(name: str, value: Any) -> list[str]:
    return [f"{'/'.join(map(str, e.path))}: {e.message}" for e in schema(name).iter_errors(value)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("bundle")
    notary = make_notary(folder)
    run = make_run(notary, folder / "records")
    export_to(run, notary, "user:a", folder / "evidence.zip")
    return read(folder / "evidence.zip")


def payload(envelope: bytes) -> Any:
    return json.loads(base64.b64decode(json.loads(envelope)["payload"]))


def test_a_bundle_is_as_its_schemas_say(files: dict[str, bytes]) -> None:
    for line in files["ledger/entries.jsonl"].splitlines():
        assert problems("entry", json.loads(line)) == []
    for name in ("manifest.json", "ledger/checkpoint.json"):
        assert problems("envelope", json.loads(files[name])) == []
    assert problems("manifest", payload(files["manifest.json"])) == []
    assert problems("checkpoint", payload(files["ledger/checkpoint.json"])) == []
    assert problems("mapping", json.loads(files["mapping.json"])) == []
    assert problems("proofs", json.loads(files["ledger/proofs.json"])) == []
    assert problems("run", json.loads(files["run/run.json"])) == []
    assert {f"schemas/{p.name}" for p in SCHEMAS.iterdir()} == {n for n in files if n.startswith("schemas/")}


def test_every_type_of_entry_is_one_of_the_schema(files: dict[str, bytes]) -> None:
    entry = json.loads(files["ledger/entries.jsonl"].splitlines()[0])
    for event in Event:
        assert problems("entry", entry | {"type": str(event)}) == [], event


def test_a_datasheet_is_as_its_schema_says() -> None:
    sheet = document(DatasetFacts("votes", "v.parquet", "a" * 64, 3, pii={"e-mail": 1}), Declared({}))
    sheet = json.loads(json.dumps(sheet))
    assert problems("datasheet", sheet) == []
    sheet["answers"][0]["answer"] = "To advance the field."  # a gap that something filled
    assert problems("datasheet", sheet)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("run", {"status": "fine"}),
        ("run", {"more": 1}),
        ("mapping", {"tables": [{"id": "x", "title": "x", "rows": [{"id": "1", "status": "evidence"}]}]}),
    ],
)
def test_what_is_not_a_record_is_refused(files: dict[str, bytes], name: str, change: dict[str, Any]) -> None:
    source = {"run": "run/run.json", "mapping": "mapping.json"}[name]
    assert problems(name, json.loads(files[source]) | change)


def test_every_schema_is_explained() -> None:
    text = FORMAT.read_text()
    for file in SCHEMAS.iterdir():
        assert f"`{file.name}`" in text, file.name
