"""What a run leaves: verdict, datasheets, cards, `run.json`, its last ledger entry."""

import json
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import cycles, delivery, documents, processing, rounds, sealing, signing, snapshot
from flows.stages import Outcome
from governance import gate, incidents
from governance.digest import sha256_path
from governance.entry import Entry, Event
from governance.records import SCHEMA, files_of, write_run_record
from tasks import params, paths
from tasks.lineage import read_record

if TYPE_CHECKING:
    from flows.run import Run

ABANDONED = "the process ended before it could say why (killed, or out of memory)."
NO_VERDICT: dict[str, Any] = {"verdict": "none", "reasons": []}


def close(run: "Run", status: str, message: str, exit_code: int) -> dict[str, Any]:
    """Write everything that says how the run ended, and give its record. Also for a run that failed."""
    complete = status == "done" and run.until == paths.STAGES[-1]
    verdict, policy = dict(NO_VERDICT), None
    if not complete and status == "done":
        verdict["reasons"] = [f"the run was asked to stop after {run.until}"]
    if complete:
        policy = _policy()
        verdict = _ask_gate(run, policy)
        outputs = {o["path"]: o["sha256"] for outcome in run.outcomes for o in outcome.outputs}
        cycles.went_through(run.ledger, run.history, run.run_id, run.actor, outputs.get(paths.BASE.as_posix()))
        if verdict["verdict"] != "pass":
            status, exit_code, message = "refused", 1, "the release gate said no."
    _log_quarantine(run)
    made = documents.write(run.folder, run.outcomes) + snapshot.write(run.folder, run.outcomes)
    made += signing.sign(run.folder, run.outcomes, run.actor)
    record = {
        "schema": SCHEMA,
        "run_id": run.run_id,
        "project": run.project,
        "status": status,
        "exit_code": exit_code,
        "message": message,
        "actor": run.actor,
        "cause": run.cause.as_dict() if run.cause else None,
        "mlflow_run_id": run.parent,
        "seconds": round(time.monotonic() - run.started, 1),
        "stages": _stages(run),
        "metrics": _metrics(run.outcomes),
        "gate": verdict,
        "policy": policy,
        "simulated": _simulated(run.outcomes),
        "records": [str(run.folder / "run.json"), *(str(p) for p in made)],
        "next": _next(run.run_id, verdict["verdict"], status),
    } | ({"round": run.round} if run.round else {})
    write_run_record(run.folder, record)
    event = {"failed": Event.RUN_FAILED, "killed": Event.RUN_KILLED}.get(status, Event.RUN_ENDED)
    digests = {"run.json": sha256_path(run.folder / "run.json")} | {
        p.relative_to(run.folder).as_posix(): sha256_path(p) for p in made
    }
    before = sum(1 for _ in run.ledger.entries(run.run_id))
    run.log(event, digests, status=status, message=message, entries=before)
    run.closed = True
    run.mlflow(delivery.deliver, record)()
    sealing.seal(run.actor)
    return record


def write_abandoned(folder: Path, entries: list[Entry]) -> dict[str, str]:
    """Write the record of a run that never said how it ended, from its ledger entries; gives the digests of its files."""
    done = {e.data["stage"]: e for e in entries if e.type in (Event.STAGE_MADE, Event.STAGE_CACHED, Event.STAGE_FAILED)}
    stages = []
    for name in paths.STAGES:
        entry = done.get(name)
        outputs = entry.subject_digests.items() if entry else ()
        stages.append(
            {
                "name": name,
                "outcome": entry.type.removeprefix("stage.") if entry else "skipped",
                "seconds": 0.0,
                "mlflow_run_id": entry.data["mlflow_run_id"] if entry else None,
                "outputs": [{"path": p, "sha256": d} for p, d in outputs if not p.startswith("input:")],
            }
        )
    first, last = (datetime.fromisoformat(e.ts) for e in (entries[0], entries[-1]))
    verdict = next((e.data for e in reversed(entries) if e.type == Event.GATE_VERDICT), NO_VERDICT)
    record = {
        "schema": SCHEMA,
        "run_id": folder.name,
        "project": params.load(paths.PARAMS).project,
        "status": "killed",
        "exit_code": 1,
        "message": ABANDONED,
        "actor": entries[0].actor,
        "cause": entries[0].data.get("cause"),
        "mlflow_run_id": "",
        "seconds": round((last - first).total_seconds(), 1),
        "stages": stages,
        "metrics": {},
        "gate": {k: verdict[k] for k in ("verdict", "reasons")},
        "policy": None,
        "simulated": [],
        "records": [str(folder / "run.json")],
        "next": _next(folder.name, "none", "killed"),
    }
    write_run_record(folder, record)
    snapshot.copy_lock(folder)
    return {p.relative_to(folder).as_posix(): sha256_path(p) for p in files_of(folder)}


def _stages(run: "Run") -> list[dict[str, Any]]:
    ended = {o.name: o for o in run.outcomes}
    every = [ended.get(name, Outcome(name, "skipped")) for name in paths.STAGES]
    keep = ("name", "outcome", "seconds", "mlflow_run_id", "outputs")
    return [{k: v for k, v in o.as_dict().items() if k in keep} for o in every]


def _metrics(outcomes: list[Outcome]) -> dict[str, Any]:
    """Figures of the reward model and the evaluation, by name, with their intervals."""
    done = {o.name for o in outcomes if o.outcome in ("made", "cached")}
    figures: dict[str, Any] = {}
    for name in ("reward", "evaluate"):
        file = paths.report(name) / "metrics.json"
        if name in done and file.is_file():
            rows = json.loads(file.read_text())["metrics"]
            figures |= {
                r["name"]: {k: r.get(k) for k in ("value", "low", "high", "n")} for r in rows if not r.get("slice")
            }
    return figures


def _policy() -> dict[str, Any]:
    record = read_record("ppo")
    folder = paths.POLICY.as_posix()
    registered = record["notes"]["registered"]
    return {
        "name": registered["name"],
        "version": registered["version"],
        "model_id": record["models"][folder],
        "sha256": record["outputs"][folder],
        "path": folder,
    }


def _ask_gate(run: "Run", policy: dict[str, Any]) -> dict[str, Any]:
    evidence = gate.gate_evidence(gate.Reports.in_workspace(paths.REPORTS), paths.POLICY, paths.REWARD, run.entries)
    evidence = replace(
        evidence,
        open_incidents=incidents.blocking(run.history),
        expired=processing.expired(run.entries, run.folder),
    )
    verdict = gate.release_gate(evidence, gate.thresholds_of(run.entries))
    digests = {
        "policy": evidence.policy_sha256,
        "reward": evidence.reward_sha256,
        "evaluation": sha256_path(paths.report("evaluate") / "metrics.json"),
    }
    run.log(Event.GATE_VERDICT, digests, verdict=verdict.verdict, reasons=verdict.reasons, checked=verdict.checked)
    registered = {k: policy[k] for k in ("name", "version", "model_id")}
    run.log(Event.MODEL_REGISTERED, {"policy": policy["sha256"]}, **registered)
    return {"verdict": verdict.verdict, "reasons": verdict.reasons}


def _log_quarantine(run: "Run") -> None:
    files = {
        "validate": paths.report("validate") / "quarantine.jsonl",
        "poisoning": paths.report("poisoning") / "quarantined.jsonl",
        "curate": paths.report("curate") / "set_aside.jsonl",
    }
    for outcome in run.outcomes:
        file = files.get(outcome.name)
        if file and file.is_file():
            rows = sum(1 for _ in file.open(encoding="utf-8"))
            if rows:
                digests = {file.as_posix(): sha256_path(file)}
                run.log(Event.DATA_QUARANTINED, digests, stage=outcome.name, rows=rows)


def _simulated(outcomes: list[Outcome]) -> list[str]:
    """What in this run is simulated, in words."""
    if not any(o.name == "ingest" and o.outcome in ("made", "cached") for o in outcomes):
        return []
    ingest, found = params.load(paths.PARAMS).ingest, []
    if ingest.votes is None and ingest.panel:
        found.append("the annotators and their votes on the preference pairs")
    if rounds.simulated():
        found.append("the labels on the policy's own answers")
    return found


def _next(run_id: str, verdict: str, status: str) -> list[str]:
    look = "attestrl ui  opens the MLflow UI: lineage, metrics, pictures"
    if verdict == "pass":
        return [look, f'attestrl approve {run_id} --reason "…"  makes the candidate champion']
    if status in ("failed", "killed"):
        return ["attestrl run  goes on from the stage that failed"]
    return [look, f"attestrl show {run_id}  shows this again"]
