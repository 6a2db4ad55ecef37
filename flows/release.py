"""Aliases of the policy in the registry: `candidate` by the gate, `champion` by a person's approval.

An alias is how people find a release. It proves nothing: the verdict and the decision are read from the ledger, and
the policy's bytes are hashed again before anything moves.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from flows import evaluation, listing, sealing
from governance import decision
from governance.digest import sha256_path
from governance.errors import GateRefused
from governance.ledger import Event, Log
from tasks import lineage, paths


def move_alias(ledger: Log, run_id: str, actor: str, policy: dict[str, Any], alias: str, *, because: str = "") -> None:
    """Point `alias` at the policy's registered version, and say so in the ledger; `because` names an incident."""
    import mlflow

    mlflow.MlflowClient().set_registered_model_alias(policy["name"], alias, policy["version"])
    data = {"model": policy["name"], "version": policy["version"], "alias": alias}
    data |= {"because": because} if because else {}
    ledger.append(
        Event.ALIAS_MOVED, run_id=run_id, actor=actor, subject_digests={"policy": policy["sha256"]}, data=data
    )


def decide(run_id: str, reason: str, *, approved: bool, show: Callable[[str], None], actor: str | None = None) -> str:
    """Record a person's decision on a run's policy; an approval makes it `champion`. Gives a sentence. `actor` is who
    types, unless the decision came another way."""
    record = listing.load(run_id)
    run_id = record["run_id"]
    paths.home().mkdir(parents=True, exist_ok=True)
    with FileLock(paths.home() / "decision.lock"):
        notary = sealing.notary()
        ledger = notary.ledger
        policy = record.get("policy")
        if not policy:
            raise GateRefused(f"{run_id}: made no policy, so there is nothing to decide; see `attestrl show {run_id}`.")
        line, seen = evaluation.shown_report(run_id, ledger)
        shown = decision.shown(record) + line
        show(shown)
        if approved:
            lineage.connect(record["project"])
            run_json = paths.home() / "records" / run_id / "run.json"
            decision.check_can_approve(notary, run_id, run_json, _registered_digest(policy))
        actor = actor or decision.current_actor()
        decision.record_decision(
            ledger, run_id=run_id, approved=approved, reason=reason, actor=actor, shown_text=shown, seen=seen
        )
        if approved:
            move_alias(ledger, run_id, actor, policy, "champion")
        sealing.seal(actor)
        if not approved:
            return f"{run_id} is rejected; the reason is in the audit log."
        return f"{policy['name']} version {policy['version']} is champion now."


def _registered_digest(policy: dict[str, Any]) -> str:
    """SHA-256 of the bytes that the registry would deliver for this version."""
    import mlflow

    local = mlflow.artifacts.download_artifacts(f"models:/{policy['name']}/{policy['version']}")
    return sha256_path(Path(local))
