"""Inventories of a run for machines: bill of materials, provenance of every stage, Croissant of every dataset."""

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.stages import Outcome, declared_stages
from governance import bom
from governance.croissant import croissant
from governance.datasheet import DatasetFacts, Declared
from governance.digest import sha256_bytes, sha256_path
from governance.model_card import ModelFacts
from governance.provenance import StageFacts, statement
from tasks import params
from tasks.lineage import read_record

LOCK = Path("requirements.lock")
Datasets = Sequence[tuple[DatasetFacts, Declared]]
Models = Sequence[tuple[str, ModelFacts]]


def texts(
    run_id: str, datasets: Datasets, models: Models, outcomes: list[Outcome], settings: params.Params
) -> dict[str, str]:
    """Documents by file name. Models are given with the paths of their folders."""
    started = datetime.strptime(run_id[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    done = [o for o in outcomes if o.outcome in ("made", "cached")]
    records = {o.name: read_record(o.name) for o in done}
    found: dict[str, Any] = {}
    for facts, declared in datasets:
        document = croissant(facts, declared, started.date().isoformat())
        found[f"croissant-{facts.name.replace('/', '-')}.json"] = document
    contents = bom.Contents(
        run_id,
        started.isoformat(),
        _version(),
        models,
        datasets,
        {path: _sources(path, records, {d.path for d, _ in datasets}) for path, _ in models},
        LOCK.read_text(encoding="utf-8") if LOCK.is_file() else "",
    )
    found |= {f"bom-{version}.json": bom.bom(contents, version) for version in bom.VERSIONS}
    here, stages = _this_machine(), declared_stages()
    for o in done:
        facts_of_stage = _stage_facts(records[o.name], stages[o.name], settings, here if o.outcome == "made" else {})
        found[f"provenance/{o.name}.json"] = statement(facts_of_stage)
    return {name: json.dumps(document, indent=1, ensure_ascii=False) + "\n" for name, document in found.items()}


def _sources(path: str, records: dict[str, dict[str, Any]], datasets: set[str]) -> list[str]:
    """Datasets and models that a model was made from, through whatever tables lie between. Reports that are no datasets are
    not followed: what they led to is in the tables; a table that a stage only passes on comes from the one of the same name."""
    made_by = {output: record for record in records.values() for output in record["outputs"]}
    found: set[str] = set()
    todo, seen = [path], {path}
    while todo:
        at = todo.pop()
        if at != path and (at in datasets or at.startswith("data/models/")):
            found.add(at)
            continue
        inputs = made_by.get(at, {}).get("inputs", {})
        inputs = [i for i in inputs if i in datasets or not i.startswith("data/reports/")]
        rest = Path(at).parts[3:]  # below data/interim/<folder>
        same = [i for i in inputs if rest and Path(i).parts[3:] == rest]
        for used in same or inputs:
            if used not in seen:
                seen.add(used)
                todo.append(used)
    return sorted(found)


def _stage_facts(
    record: dict[str, Any], stage: dict[str, Any], settings: params.Params, machine: dict[str, str]
) -> StageFacts:
    every = settings.model_dump(mode="json", by_alias=True)
    read = [key.replace("${method}", settings.method) for key in stage.get("params", [])]
    return StageFacts(
        stage=record["stage"],
        command=stage["cmd"],
        inputs=record["inputs"],
        outputs=record["outputs"],
        parameters={key: _value(every, key) for key in read},
        seed=record["seed"],
        seconds=record["seconds"],
        git_commit=record["git_commit"],
        mlflow_run_id=record["mlflow_run_id"],
        packages_sha256=sha256_path(LOCK) if machine and LOCK.is_file() else None,
        patch_sha256=_patch() if machine and record["git_commit"].endswith("+changes") else None,
        machine=machine or None,
    )


def _value(section: Any, key: str) -> Any:
    for name in key.split("."):
        section = section[name]
    return section


def _patch() -> str | None:
    """SHA-256 of the changes in the working tree against the commit."""
    done = subprocess.run(["git", "diff", "--binary", "HEAD"], capture_output=True, check=False)
    return sha256_bytes(done.stdout) if done.returncode == 0 else None


def _this_machine() -> dict[str, str]:
    return {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "processors": str(os.cpu_count()),
    }


def _version() -> str:
    try:
        return importlib.metadata.version("attestrl")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
