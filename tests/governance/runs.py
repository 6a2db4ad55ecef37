"""A run's folder and ledger as the pipeline leaves them, small: real files, real entries through the public functions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from governance import bundle
from governance.digest import sha256_bytes, sha256_path, write_atomic, write_json
from governance.entry import Event
from governance.ledger import Ledger
from governance.notary import Notary
from governance.records import SCHEMA
from tests.governance.conftest import notary_of

RUN, OTHER = "20260101T000000Z-0a1b2c3d", "20260102T000000Z-4e5f6a7b"
BASE = "b" * 64
STAGES = {  # stage: (inputs, outputs)
    "ingest": (["data/raw/hh_rlhf/pairs.jsonl"], ["data/interim/ingested/preferences.parquet"]),
    "base": ([], ["data/models/base"]),
    "sft": (["data/models/base", "data/interim/ingested/preferences.parquet"], ["data/models/sft"]),
    "reward": (["data/models/sft"], ["data/models/reward"]),
    "ppo": (["data/models/sft", "data/models/reward"], ["data/models/policy"]),
    "evaluate": (["data/models/policy", "data/models/reward"], ["data/reports/evaluate/metrics.json"]),
}


def digest(run_id: str, path: str) -> str:
    return sha256_bytes(f"{run_id} {path}".encode())


def make_run(
    notary: Notary, records: Path, run_id: str = RUN, add: Callable[[Path], object] = bool, **changes: Any
) -> Path:
    """Records of one finished run under `records`, its entries, and a checkpoint. `changes` go into digests by path,
    as one stage or report sees them: {"ppo:data/models/reward": …}, or into documents: {"lineage/policy": {…}}; `add` may
    put more into the folder."""
    folder = records / run_id

    def seen(stage: str, path: str) -> str:
        return changes.get(f"{stage}:{path}", digest(run_id, path))

    def log(event: Event, digests: dict[str, str], **data: Any) -> None:
        notary.ledger.append(event, run_id=run_id, actor="user:a", subject_digests=digests, data=data)

    log(Event.RUN_STARTED, {}, until="evaluate")
    for stage, (inputs, outputs) in STAGES.items():
        ins, outs = {p: seen(stage, p) for p in inputs}, {p: digest(run_id, p) for p in outputs}
        write_json(folder / "stages" / f"{stage}.json", {"stage": stage, "inputs": ins, "outputs": outs})
        log(Event.STAGE_MADE, outs | {f"input:{p}": d for p, d in ins.items()}, stage=stage)
    policy, reward = (digest(run_id, f"data/models/{m}") for m in ("policy", "reward"))
    documents = {
        "lineage/policy": {"base_sha256": BASE},
        "lineage/reward": {"base_sha256": BASE},
        "reports/evaluate": {"base_sha256": BASE, "policy_sha256": policy, "reward_sha256": reward},
        "reports/reward": {"reward_sha256": reward},
        "reports/annotators": {"summary": "40 annotators (simulated); 1 is not to be trusted."},
    }
    for name, document in documents.items():
        write_json(folder / f"{name}.json", document | changes.get(name, {}))
    write_atomic(folder / "datasheet-preferences.md", f"# Datasheet of {run_id}\n")
    write_atomic(folder / "params.yaml", "seed: 7\n")
    log(Event.GATE_VERDICT, {"policy": policy}, verdict="pass", reasons=[], checked=[])
    add(folder)
    write_json(folder / "run.json", run_record(run_id))
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    digests = {p.relative_to(folder).as_posix(): sha256_path(p) for p in files}
    log(Event.RUN_ENDED, digests, status="done", message="", entries=len(STAGES) + 2)
    notary.seal("user:a")
    return folder


def run_record(run_id: str) -> dict[str, Any]:
    stages = [
        {
            "name": s,
            "outcome": "made",
            "seconds": 1.5,
            "mlflow_run_id": "m",
            "outputs": [{"path": p, "sha256": digest(run_id, p)} for p in outputs],
        }
        for s, (_, outputs) in STAGES.items()
    ]
    return {
        "schema": SCHEMA,
        "run_id": run_id,
        "project": "demo",
        "status": "done",
        "exit_code": 0,
        "message": "",
        "actor": "user:a",
        "mlflow_run_id": "m",
        "seconds": 9.5,
        "stages": stages,
        "metrics": {"accuracy/test": {"value": 0.625, "low": 0.5, "high": 0.75, "n": 64}},
        "gate": {"verdict": "pass", "reasons": []},
        "policy": {
            "name": "demo-policy",
            "version": "3",
            "model_id": "m-1",
            "sha256": digest(run_id, "data/models/policy"),
            "path": "data/models/policy",
        },
        "simulated": ["the annotators <b>and</b> their votes"],
        "records": [],
        "next": [],
    }


def make_notary(folder: Path) -> Notary:
    return notary_of(Ledger(folder / "ledger.jsonl"))


def rewrite(files: dict[str, bytes], name: str, **fields: Any) -> dict[str, bytes]:
    """The same files with other fields in one JSON document."""
    document = json.loads(files[name]) | fields
    return files | {name: json.dumps(document).encode()}


def export_to(folder: Path, notary: Notary, actor: str, out: Path) -> str:
    """Write the bundle of one run; its SHA-256."""
    ((_, data),) = bundle.export([folder], notary, actor)
    write_atomic(out, data)
    return sha256_bytes(data)
