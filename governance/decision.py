"""A person's decision on a release: what was shown, who decided what and why, and what must hold before approval."""

import getpass
import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from governance import freshness, gate
from governance.digest import sha256_bytes
from governance.entry import Entry, Event
from governance.errors import BadInput, GateRefused
from governance.gate import Verdict
from governance.history import Readable
from governance.ledger import Log
from governance.notary import Notary
from governance.records import check_unchanged

SCHEMA = "attestrl/decision/1"
BOUND = "the evaluation says that a declared bound is broken"


def current_actor() -> str:
    """Who types: `user:<login>`, or the numeric id where no name is known. The account of the process counts, not the
    variables LOGNAME and USER, which whoever types may set to another person's name."""
    if os.name != "posix":
        return f"user:{getpass.getuser()}"
    import pwd

    try:
        return f"user:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"user:uid-{os.getuid()}"


def shown(run: dict[str, Any]) -> str:
    """Text that a person sees before deciding; its SHA-256 goes into the decision's entry."""
    policy, gate = run["policy"], run["gate"]
    lines = [
        f"Release of run {run['run_id']} ({run['status']})",
        f"Policy: {policy['name']} version {policy['version']}",
        f"  sha256 {policy['sha256']}",
        f"Gate: {gate['verdict']}",
        *(f"  - {reason}" for reason in gate["reasons"]),
        "Figures:",
        *(f"  {name} {_figure(f)}" for name, f in run["metrics"].items()),
        "Models:",
    ]
    outputs = [o for stage in run["stages"] for o in stage["outputs"]]
    lines += [f"  {o['path']} {o['sha256']}" for o in outputs if o["path"].startswith("data/models/")]
    lines += [f"Simulated: {what}" for what in run.get("simulated", [])]
    if records := run["records"]:
        lines += [
            f"Records: {Path(records[0]).parent} ({len(records)} files, named with their SHA-256 by the audit log)"
        ]
    return "\n".join(lines) + "\n"


def _figure(f: dict[str, Any]) -> str:
    if f["value"] is None:
        return "not measured"
    interval = "" if f.get("low") is None else f" [{f['low']:.3f}, {f['high']:.3f}]"
    return f"{f['value']:.3f}{interval}" + (f" n={f['n']}" if f.get("n") else "")


def check_ledger(notary: Notary) -> None:
    """Raises GateRefused unless the ledger and its checkpoints are whole."""
    found = notary.verify()
    if not found.ok:
        raise GateRefused(f"the ledger does not verify ({found.problems[0]}); see `attestrl ledger verify`.")


def check_evidence(ledger: Log, run_id: str, folder: Path) -> list[Entry]:
    """Entries of a run whose evidence stands: it ended with a passing verdict, its evaluation is not stale, and every file
    in its `folder` is the one that its last entry names. Raises GateRefused otherwise, BadInput if the run is unknown or
    decided; an approval that is unfinished may be looked at again."""
    entries = list(ledger.entries(run_id)) if unfinished(ledger, run_id) else _undecided(ledger, run_id)
    if stale := freshness.stale_since(entries):
        raise GateRefused(f"{run_id}: its evaluation is {stale}; run a full cycle on the new base.")
    verdict = _last(entries, Event.GATE_VERDICT)
    if verdict is None or verdict.data.get("verdict") != "pass":
        raise GateRefused(f"{run_id}: the ledger has no passing verdict of the release gate for it.")
    if _last(entries, Event.RUN_ENDED) is None:
        raise GateRefused(f"{run_id}: did not end, says the ledger; run again.")
    check_unchanged(folder, entries)
    return entries


def judge_again(
    entries: list[Entry],
    folder: Path,
    policy: Path,
    reward: Path,
    *,
    open_incidents: tuple[str, ...] = (),
    expired: tuple[str, ...] = (),
) -> Verdict:
    """The gate's verdict on a run once more, from its evidence alone: the bytes that would be released (`policy`) and
    those of the reward model, the run's own reports and checks, and the thresholds under which it was started. Raises
    GateRefused with every reason there is."""
    evidence = gate.gate_evidence(gate.Reports.of_run(folder), policy, reward, entries)
    verdict = gate.release_gate(
        replace(evidence, open_incidents=open_incidents, expired=expired), gate.thresholds_of(entries)
    )
    if verdict.reasons:
        raise GateRefused(f"{folder.name}: judged again, it does not pass: {' '.join(verdict.reasons)}")
    return verdict


def check_bounds(entries: list[Entry], actor: str, *, override: bool) -> dict[str, str] | None:
    """What an approval by `actor` overrides: {entry, actor, reason} of the person who asked before; None if the last
    evaluation broke no bound.

    Raises GateRefused for a broken bound, unless `override` and another person was refused for the same evaluation, and
    BadInput if there is nothing to override.
    """
    evaluated = _last(entries, Event.EVALUATED)
    if evaluated is None or evaluated.data["verdict"] != "broken":
        if override:
            raise BadInput("--override: no declared bound is broken, so there is nothing to override.")
        return None
    report = evaluated.subject_digests["report"]
    asked = [
        e for e in entries
        if e.type == Event.REFUSED and e.subject_digests.get("evaluation report") == report
        and e.data["because"].startswith(BOUND) and e.actor != actor
    ]  # fmt: skip
    if not override or not asked:
        raise GateRefused(
            f"{BOUND}; your wish and reason are recorded, and another person can now approve with --override and a reason."
        )
    return {"entry": asked[-1].entry_hash, "actor": asked[-1].actor, "reason": asked[-1].data["reason"]}


def shown_again(verdict: Verdict) -> str:
    """What the person sees of the second judgement: every comparison that was made."""
    lines = [
        f"  {c['what']}" + (f" {c['value']:.6g} (limit {c['limit']:g})" if "value" in c else ": holds")
        for c in verdict.checked
    ]
    return "\n".join(["Judged again from the evidence: pass", *lines]) + "\n"


def record_decision(
    ledger: Log,
    *,
    run_id: str,
    approved: bool,
    reason: str,
    actor: str,
    shown_text: str,
    seen: dict[str, str] | None = None,
    judged: Verdict | None = None,
    overrides: dict[str, str] | None = None,
) -> Entry:
    """Append the decision; `seen`: SHA-256 of reports that were shown, by name; `judged`: the second verdict; `overrides`:
    who asked before, where a broken bound is overridden. Raises BadInput for an empty reason, an unknown run, or a second
    decision."""
    check_reason(reason)
    entries = _undecided(ledger, run_id)
    digests = {"shown": sha256_bytes(shown_text.encode())} | (seen or {})
    verdict = _last(entries, Event.GATE_VERDICT)
    if verdict:
        digests["policy"] = verdict.subject_digests["policy"]
    event = Event.APPROVED if approved else Event.REJECTED
    data: dict[str, Any] = {"schema": SCHEMA, "reason": reason.strip(), "shown": shown_text}
    data |= {"checked": judged.checked} if judged else {}
    data |= {"overrides": overrides} if overrides else {}
    return ledger.append(event, run_id=run_id, actor=actor, subject_digests=digests, data=data)


def record_refusal(
    ledger: Log,
    *,
    run_id: str,
    reason: str,
    because: str,
    actor: str,
    shown_text: str,
    seen: dict[str, str] | None = None,
) -> Entry:
    """Append that a person wanted to approve and was refused; the run stays undecided. `seen` as in `record_decision`."""
    data = {"schema": SCHEMA, "reason": reason.strip(), "because": because, "shown": shown_text}
    digests = {"shown": sha256_bytes(shown_text.encode())} | (seen or {})
    return ledger.append(Event.REFUSED, run_id=run_id, actor=actor, subject_digests=digests, data=data)


def check_reason(reason: str) -> None:
    """Raises BadInput if a person gave no reason."""
    if not reason.strip():
        raise BadInput("--reason: is empty; say why, it goes into the audit log.")


def _undecided(ledger: Log, run_id: str) -> list[Entry]:
    """Entries of a run. Raises BadInput if there are none, or a decision is among them, GateRefused if it is too late."""
    entries = list(ledger.entries(run_id))
    if not entries:
        raise BadInput(f"{run_id}: the ledger does not know this run; `attestrl runs` lists them.")
    earlier = _last(entries, Event.APPROVED) or _last(entries, Event.REJECTED)
    if earlier:
        raise BadInput(f"{run_id}: was decided already ({earlier.type}, {earlier.actor}, {earlier.ts}).")
    if expired := _last(entries, Event.EXPIRED):
        raise GateRefused(f"{run_id}: nobody decided in time ({expired.ts}); run again, and decide on that run.")
    return entries


def unfinished(ledger: Readable, run_id: str) -> Entry | None:
    """The approval of a run, if `champion` has not moved since: the process was killed, or the registry away, in between."""
    approval = None
    for e in ledger.entries():
        if e.type == Event.APPROVED and e.run_id == run_id:
            approval = e
        elif e.type == Event.ALIAS_MOVED and e.data["alias"] == "champion":
            approval = None
    return approval


def awaiting(ledger: Readable) -> dict[str, datetime]:
    """Runs with a passing verdict on which nobody has decided, and since when they wait."""
    passed: set[str] = set()
    found: dict[str, datetime] = {}
    for e in ledger.entries():
        if e.type == Event.GATE_VERDICT and e.data["verdict"] == "pass":
            passed.add(e.run_id)
        elif e.type == Event.RUN_ENDED and e.run_id in passed:
            found[e.run_id] = datetime.fromisoformat(e.ts)
        elif e.type in (Event.APPROVED, Event.REJECTED, Event.EXPIRED, Event.EVALUATION_STALE):
            found.pop(e.run_id, None)
    return found


def _last(entries: list[Entry], event: Event) -> Entry | None:
    return next((e for e in reversed(entries) if e.type == event), None)
