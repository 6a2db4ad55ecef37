"""Aliases of the policy in the registry: `candidate` by the gate, `champion` by a person's approval.

An alias is how people find a release. It proves nothing: before `champion` moves, everything that the gate once found is
derived again from the ledger, the run's records and the bytes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from flows import evaluation, listing, processing, sealing, signing
from governance import decision, descent, incidents
from governance.entry import Event
from governance.errors import GateRefused
from governance.gate import Verdict
from governance.ledger import Log
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


def take_alias_away(ledger: Log, actor: str, name: str, alias: str, *, because: str) -> None:
    """Let `alias` of a registered model point at nothing, and say so in the ledger; `because` names an incident."""
    import mlflow

    mlflow.MlflowClient().delete_registered_model_alias(name, alias)
    data = {"model": name, "version": None, "alias": alias, "because": because}
    ledger.append(Event.ALIAS_MOVED, run_id="", actor=actor, subject_digests={}, data=data)


def decide(
    run_id: str,
    reason: str,
    *,
    approved: bool,
    show: Callable[[str], None],
    actor: str | None = None,
    override: bool = False,
) -> str:
    """Record a person's decision on a run's policy; an approval makes it `champion`. Gives a sentence. `actor` is who
    types, unless the decision came another way; `override`: although the evaluation broke a bound, if another person asked
    for it before.

    An approval is judged again from the evidence; where that says no, the refusal is recorded with what was shown. One that
    was recorded, but cut short before the alias moved, is finished by approving again.
    """
    decision.check_reason(reason)
    record = listing.load(run_id)
    run_id = record["run_id"]
    paths.home().mkdir(parents=True, exist_ok=True)
    with FileLock(paths.home() / "decision.lock"):
        notary, actor = sealing.notary(), actor or decision.current_actor()
        ledger = notary.ledger
        policy = record.get("policy")
        if not policy:
            raise GateRefused(f"{run_id}: made no policy, so there is nothing to decide; see `attestrl show {run_id}`.")
        line, seen = evaluation.shown_report(run_id, ledger)
        shown, judged, overrides = decision.shown(record) + line, None, None
        if approved:
            decision.check_ledger(notary)
            try:
                judged = _judge_again(record, ledger)
                overrides = decision.check_bounds(list(ledger.entries(run_id)), actor, override=override)
            except GateRefused as refused:
                show(shown)
                decision.record_refusal(
                    ledger, run_id=run_id, reason=reason, because=str(refused), actor=actor, shown_text=shown, seen=seen
                )
                sealing.seal(actor)
                raise
            shown += decision.shown_again(judged)
            if overrides:
                shown += f"Overridden: {decision.BOUND}. First asked by {overrides['actor']}: {overrides['reason']}\n"
        show(shown)
        if not (approved and decision.unfinished(ledger, run_id)):
            decision.record_decision(
                ledger, run_id=run_id, approved=approved, reason=reason, actor=actor, shown_text=shown, seen=seen,
                judged=judged, overrides=overrides,
            )  # fmt: skip
        if approved:
            move_alias(ledger, run_id, actor, policy, "champion")
        sealing.seal(actor)
        if not approved:
            return f"{run_id} is rejected; the reason is in the audit log."
        return f"{policy['name']} version {policy['version']} is champion now."


def _judge_again(record: dict[str, Any], ledger: Log) -> Verdict:
    """The gate's verdict from the evidence of the run, the bytes in the registry and what is open or expired now."""
    folder = paths.home() / "records" / record["run_id"]
    entries = decision.check_evidence(ledger, record["run_id"], folder)
    lineage.connect(record["project"])
    policy, reward = _registered(record["policy"]), evaluation.model_of_run(paths.REWARD, descent.made(entries))
    signing.check(folder, {"policy": policy, "reward": reward})
    return decision.judge_again(
        entries,
        folder,
        policy,
        reward,
        open_incidents=incidents.blocking(ledger),
        expired=processing.expired(entries, folder),
    )


def _registered(policy: dict[str, Any]) -> Path:
    """The bytes that the registry would deliver for this version. Raises GateRefused if there are none."""
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        return Path(mlflow.artifacts.download_artifacts(f"models:/{policy['name']}/{policy['version']}"))
    except (MlflowException, OSError) as error:
        raise GateRefused(
            f"the registry at {mlflow.get_registry_uri().split('@')[-1]} does not deliver {policy['name']} version "
            f"{policy['version']} ({str(error).partition(chr(10))[0]}); run again."
        ) from None
