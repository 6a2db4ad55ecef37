"""Copies into the run's folder of what says how its outputs came to be: the workspace holds the latest run only."""

import json
from pathlib import Path
from typing import Any

from flows.stages import Outcome
from governance import findings, retention
from governance.bundle import DECLARATIONS
from governance.digest import write_atomic, write_json
from governance.errors import BadInput
from governance.mapping import read_declarations
from tasks import annotator_export, params, paths

REPORTS = {
    "ingest": "summary.json",
    "validate": "checks.json",
    "annotators": "summary.json",
    "poisoning": "summary.json",
    "curate": "summary.json",
    "reward": "metrics.json",
    "evaluate": "metrics.json",
}
LINEAGE = {"base": paths.BASE, "sft": paths.SFT, "reward": paths.REWARD, "ppo": paths.POLICY}
PROJECT = (paths.PARAMS, Path("dvc.yaml"), Path("dvc.lock"), Path("requirements.lock"))


def write(folder: Path, outcomes: list[Outcome]) -> list[Path]:
    """Copy records, summaries and lineage of every stage that is done, and the project's own files; gives the copies."""
    copies = {folder / path.name: path for path in PROJECT}
    for stage in (o.name for o in outcomes if o.outcome in ("made", "cached")):
        copies[folder / "stages" / f"{stage}.json"] = paths.report(stage) / "record.json"
        if stage in REPORTS:
            copies[folder / "reports" / f"{stage}.json"] = paths.report(stage) / REPORTS[stage]
        if stage in LINEAGE:
            copies[folder / "lineage" / f"{LINEAGE[stage].name}.json"] = LINEAGE[stage] / "lineage.json"
    made = [_copy(source, to) for to, source in copies.items() if source.is_file()]
    if (summary := folder / "reports/annotators.json") in made:
        write_json(summary, annotator_export.exported(json.loads(summary.read_text(encoding="utf-8"))))
        _drop_counts(folder / "stages/annotators.json")
    return made + _findings(folder, made) + _declarations(folder) + _retention(folder, outcomes)


def _drop_counts(record: Path) -> None:
    """Take the exact numbers of accused annotators out of the copy of the stage's record (`tasks.annotator_export`)."""
    content = json.loads(record.read_text(encoding="utf-8"))
    content["metrics"] = {k: v for k, v in content["metrics"].items() if not k.endswith("flagged")}
    write_json(record, content)


def _findings(folder: Path, copies: list[Path]) -> list[Path]:
    """Records of the evaluation and of the golden audits, where their stages are done."""
    records: dict[str, dict[str, Any]] = {}
    measured = [f for f in (folder / "reports/evaluate.json", folder / "reports/reward.json") if f in copies]
    if folder / "reports/evaluate.json" in measured:
        reports = {f.relative_to(folder).as_posix(): (f.read_bytes(), json.loads(f.read_bytes())) for f in measured}
        records["evaluation.json"] = findings.evaluation(reports)
    if folder / "reports/annotators.json" in copies:
        root = paths.report("annotators")
        names = {(f.parent.relative_to(root) / "votes").as_posix(): f for f in sorted(root.rglob("summary.json"))}
        audits = {n: annotator_export.exported(json.loads(f.read_bytes())) for n, f in names.items()}
        if judged := {n: found for n, found in audits.items() if found["annotators"]}:
            records["golden-audit.json"] = findings.golden_audits(judged)
    for name, record in records.items():
        write_json(folder / name, record)
    return [folder / name for name in records]


def copy_lock(folder: Path) -> None:
    """Copy `dvc.lock` alone, by which the versions that a killed run made are found again."""
    if (lock := Path("dvc.lock")).is_file():
        _copy(lock, folder / lock.name)


def check_declarations() -> Path | None:
    """The file of declarations that params.yaml names, if any. Raises BadInput if it is absent or says nothing valid."""
    name = params.load(paths.PARAMS).evidence.declarations
    if name is None:
        return None
    try:
        read_declarations(Path(name).read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError):
        raise BadInput(f"{name}: cannot be read; evidence.declarations in params.yaml names it.") from None
    return Path(name)


def _declarations(folder: Path) -> list[Path]:
    try:
        declared = check_declarations()
    except BadInput:  # the run that is ending was refused for it at its start
        return []
    return [_copy(declared, folder / DECLARATIONS)] if declared else []


def _retention(folder: Path, outcomes: list[Outcome]) -> list[Path]:
    """What is declared now of the sources that the run read: the files beside them may be gone when it is asked."""
    read = next((o.inputs for o in outcomes if o.name == "ingest" and o.outcome in ("made", "cached")), None)
    if read is None:
        return []
    write_json(folder / retention.RECORD, retention.record(Path(name) for name in read))
    return [folder / retention.RECORD]


def _copy(source: Path, to: Path) -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(to, source.read_bytes())
    return to
