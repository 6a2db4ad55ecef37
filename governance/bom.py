"""AI bill of materials in CycloneDX (ECMA-424): models, datasets, software, and what was made from what."""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from governance.datasheet import DatasetFacts, Declared
from governance.model_card import ModelFacts

VERSIONS = ("1.6", "1.7")
APPROACH = {
    "base": "self-supervised",
    "sft": "supervised",
    "reward": "supervised",
    "judge": "supervised",
    "policy": "reinforcement-learning",
}
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;#]+)")


@dataclass(frozen=True)
class Contents:
    """What a bill lists: `requirements` is the text of the lock file, `time` UTC in ISO 8601, `made_by` the tool's
    version, `made_from` each model's path with the paths of what its stage used."""

    run_id: str
    time: str
    made_by: str
    models: Sequence[tuple[str, ModelFacts]]
    datasets: Sequence[tuple[DatasetFacts, Declared]]
    made_from: dict[str, list[str]]
    requirements: str


def bom(contents: Contents, version: str) -> dict[str, Any]:
    """The bill as JSON, after the specification `version`."""
    libraries = [_library(name, pinned) for name, pinned in _PIN.findall(contents.requirements)]
    models = [_model(path, m, contents) for path, m in contents.models]
    data = [_dataset(d, declared) for d, declared in contents.datasets]
    known = {c["bom-ref"] for c in (*models, *data)}
    main = models[-1]["bom-ref"] if models else f"run:{contents.run_id}"
    relations = [
        {"ref": f"model:{path}", "dependsOn": [r for r in _refs(contents.made_from.get(path, [])) if r in known]}
        for path, _ in contents.models
    ]
    run: dict[str, Any] = {"type": "application", "bom-ref": f"run:{contents.run_id}", "name": contents.run_id}
    needs = sorted({main, *(c["bom-ref"] for c in libraries)} - {run["bom-ref"]})
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{version}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": version,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'urn:attestrl:run:{contents.run_id}:{version}')}",
        "version": 1,
        "metadata": {
            "timestamp": contents.time,
            "tools": {"components": [{"type": "application", "name": "attestrl", "version": contents.made_by}]},
            "component": run,
        },
        "components": [*models, *data, *libraries],
        "dependencies": [{"ref": run["bom-ref"], "dependsOn": needs}, *relations],
    }


def _refs(paths: list[str]) -> list[str]:
    """References of paths: a table that was derived from a dataset keeps the dataset's name as its stem."""
    return sorted({ref for path in paths for ref in (f"model:{path}", f"data:{path}")})


def _model(path: str, m: ModelFacts, contents: Contents) -> dict[str, Any]:
    known = {f"data:{d.path}" for d, _ in contents.datasets}
    used = [r for r in _refs(contents.made_from.get(path, [])) if r in known]
    parameters: dict[str, Any] = {
        "approach": {"type": APPROACH[m.kind]},
        "task": "reward modelling" if m.kind in ("reward", "judge") else "text generation",
        "inputs": [{"format": "text"}],
        "outputs": [{"format": "score" if m.kind in ("reward", "judge") else "text"}],
    }
    if used:
        parameters["datasets"] = [{"ref": ref} for ref in used]
    card: dict[str, Any] = {"bom-ref": f"card:{path}", "modelParameters": parameters}
    if metrics := [_metric(f) for f in m.metrics if f["value"] is not None]:
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    considerations = {
        "useCases": [m.intended_use] if m.intended_use else [],
        "technicalLimitations": [text for text in (m.limits, m.simulated) if text],
    }
    card["considerations"] = {name: texts for name, texts in considerations.items() if texts}
    properties = {"base_sha256": m.base_sha256, "git_commit": m.git_commit, "mlflow_run_id": m.mlflow_run_id}
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{path}",
        "name": m.name,
        "version": m.sha256[:12],
        "hashes": [{"alg": "SHA-256", "content": m.sha256}],
        "modelCard": card,
        "properties": [{"name": f"attestrl:{k}", "value": v} for k, v in properties.items() if v],
    }


def _metric(f: dict[str, Any]) -> dict[str, Any]:
    metric: dict[str, Any] = {"type": f["name"], "value": f"{f['value']:.6g}"}
    if f.get("slice"):
        metric["slice"] = f["slice"]
    if f["low"] is not None and f["high"] is not None:
        metric["confidenceInterval"] = {"lowerBound": f"{f['low']:.6g}", "upperBound": f"{f['high']:.6g}"}
    return metric


def _dataset(d: DatasetFacts, declared: Declared) -> dict[str, Any]:
    data: dict[str, Any] = {"type": "dataset", "name": d.name, "contents": {"url": d.path}}
    said = declared.answers
    data["description"] = d.simulated or said.get("COMP-01", (f"{d.rows} rows",))[0]
    if d.pii:
        data["sensitiveData"] = [f"{kind}: {n}" for kind, n in d.pii.items()]
    data["governance"] = _governance(declared)
    found: dict[str, Any] = {
        "type": "data",
        "bom-ref": f"data:{d.path}",
        "name": d.name,
        "version": d.sha256[:12],
        "hashes": [{"alg": "SHA-256", "content": d.sha256}],
        "data": [data],
    }
    if "DIST-04" in said:
        found["licenses"] = [{"license": {"name": said["DIST-04"][0]}}]
    return found


def _governance(declared: Declared) -> dict[str, Any]:
    """Who made a dataset and who keeps it, as far as somebody declared it; visibly nobody otherwise."""
    said = declared.answers
    named = {
        role: said[topic][0] for role, topic in (("owners", "MOTI-02"), ("custodians", "MAIN-01")) if topic in said
    }
    named = named or {"owners": "Not known: nobody declared whose data these are; ask the data lead of this project."}
    return {role: [{"organization": {"name": text}}] for role, text in named.items()}


def _library(name: str, version: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{version.replace('+', '%2B')}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
