"""A run that the gate let pass, small: folders with bytes for models, reports, records and entries as the pipeline leaves
them. Each can be changed before it is recorded, as somebody who wrote it could have."""

from pathlib import Path
from typing import Any

from governance.digest import sha256_path, write_json
from governance.entry import Event
from governance.notary import Notary
from governance.records import SCHEMA
from governance.retention import record

RUN = "20260101T000000Z-0a1b2c3d"
LIMITS = {"min_reward_accuracy_low": 0.5, "min_win_rate_low": 0.45, "max_kl": 10.0, "max_length_ratio": 1.5}
MADE_FROM = {"base": [], "sft": ["base"], "reward": ["sft"], "policy": ["sft", "reward"]}
STAGE_OF = {"policy": "ppo"}
SOURCE = "data/raw/votes/votes.csv"


def row(name: str, value: float | None, part: str | None = None) -> dict[str, Any]:
    low, high = (None, None) if value is None else (value - 0.05, value + 0.05)
    return {"name": name, "value": value, "low": low, "high": high, "n": 100, "slice": part}


def make_models(folder: Path) -> str:
    """Model folders that descend from one base; gives the base's digest."""
    for name in MADE_FROM:
        (folder / name).mkdir(parents=True)
        (folder / name / "model.safetensors").write_bytes(name.encode())
    base = sha256_path(folder / "base")
    for name in MADE_FROM:
        write_json(folder / name / "lineage.json", {"base_sha256": base})
    return base


def make_judged(notary: Notary, home: Path, models: Path, *, verdict: str = "pass", **changes: Any) -> Path:
    """The run's folder. `changes` go into documents by name: {"reports/evaluate": {…}, "stages/validate": {…}}, or into
    the digests that a stage used: {"ppo:data/models/sft": …}."""
    folder = home / "records" / RUN
    base = make_models(models)
    digests = {name: sha256_path(models / name) for name in MADE_FROM}
    documents: dict[str, dict[str, Any]] = {
        f"stages/{stage}": {"notes": {"gate": "pass"}} for stage in ("validate", "annotators", "poisoning")
    }
    documents["reports/reward"] = {
        "base_sha256": base,
        "reward_sha256": digests["reward"],
        "metrics": [row("accuracy/test", 0.6), row("accuracy/test", 0.1, "short answers")],
    }
    documents["reports/evaluate"] = {
        "base_sha256": base,
        "policy_sha256": digests["policy"],
        "reward_sha256": digests["reward"],
        "metrics": [
            row("win_rate/policy_vs_sft", 0.55),
            row("kl/policy_from_sft", 3.0),
            row("length_ratio/policy_vs_sft", 1.1),
        ],
    }
    for name, document in documents.items():
        write_json(folder / f"{name}.json", document | changes.get(name, {}))
    write_json(folder / "retention.json", record([Path(SOURCE)]))

    def log(event: Event, digests: dict[str, str], **data: Any) -> None:
        notary.ledger.append(event, run_id=RUN, actor="user:a", subject_digests=digests, data=data)

    log(Event.RUN_STARTED, {}, until="evaluate")
    log(Event.CONFIGURATION, {}, parameters={"gate": LIMITS}, changed=[])
    log(Event.STAGE_MADE, {f"input:{SOURCE}": "a" * 64}, stage="ingest")
    stages = []
    for name, used in MADE_FROM.items():
        stage = STAGE_OF.get(name, name)
        outputs = {f"data/models/{name}": digests[name]}
        if name == "reward":
            outputs["data/reports/reward/metrics.json"] = sha256_path(folder / "reports/reward.json")
        paths = {f"data/models/{u}": digests[u] for u in used}
        paths = {p: changes.get(f"{stage}:{p}", d) for p, d in paths.items()}
        log(Event.STAGE_MADE, outputs | {f"input:{p}": d for p, d in paths.items()}, stage=stage)
        stages.append({"name": stage, "outputs": [{"path": p, "sha256": d} for p, d in outputs.items()]})
    used = {f"input:data/models/{n}": digests[n] for n in ("policy", "reward")}
    report = {"data/reports/evaluate/metrics.json": sha256_path(folder / "reports/evaluate.json")}
    log(Event.STAGE_MADE, report | used, stage="evaluate")
    log(Event.GATE_VERDICT, {"policy": digests["policy"]}, verdict=verdict, reasons=[], checked=[])
    write_json(folder / "run.json", run_record(stages, digests["policy"], verdict))
    files = {p.relative_to(folder).as_posix(): sha256_path(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    log(Event.RUN_ENDED, files, status="done", message="")
    return folder


def run_record(stages: list[dict[str, Any]], policy: str, verdict: str = "pass") -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "run_id": RUN,
        "project": "demo",
        "status": "done",
        "message": "",
        "stages": stages,
        "metrics": {
            "win_rate/policy_vs_sft": {"value": 0.571, "low": 0.512, "high": 0.63, "n": 96},
            "kl/policy_from_sft": {"value": 2.25, "low": None, "high": None, "n": None},
            "accuracy/test": {"value": None, "low": None, "high": None, "n": 0},
        },
        "gate": {"verdict": verdict, "reasons": [] if verdict == "pass" else ["the KL is too high."]},
        "policy": {
            "name": "demo-policy",
            "version": "1",
            "model_id": "m-1",
            "sha256": policy,
            "path": "data/models/policy",
        },
        "simulated": ["the annotators and their votes"],
        "records": ["records/card-policy.md"],
        "next": [],
    }
