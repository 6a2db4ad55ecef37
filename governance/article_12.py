"""Which kind of event of Regulation (EU) 2024/1689, Art. 12, an entry of the audit log is: the log names it as such."""

RISK = "Art. 12(2)(a): situation that may be a risk, or substantial modification"
MONITORING = "Art. 12(2)(b): post-market monitoring"
OPERATION = "Art. 12(2)(c): operation of the system"
PERIOD = "Art. 12(3)(a): period of use"
PERSONS = "Art. 12(3)(d): persons who verify results"

POINTS = {
    "run.started": PERIOD,
    "run.ended": PERIOD,
    "run.failed": PERIOD,
    "run.killed": PERIOD,
    "run.configuration": OPERATION,
    "stage.made": OPERATION,
    "stage.cached": OPERATION,
    "stage.failed": OPERATION,
    "data.quarantined": RISK,
    "gate.verdict": RISK,
    "model.registered": RISK,
    "alias.moved": RISK,
    "decision.approved": PERSONS,
    "decision.rejected": PERSONS,
    "decision.refused": PERSONS,
    "evaluation.stale": RISK,
    "cycle.due": RISK,
    "cycle.done": RISK,
    "round.asked": OPERATION,
    "round.labelled": OPERATION,
    "retention.deleted": OPERATION,
    "retention.review_due": OPERATION,
    "incident.opened": RISK,
    "incident.updated": MONITORING,
    "evaluation.made": PERSONS,
    "incident.closed": MONITORING,
    "schedule.set": OPERATION,
    "schedule.missed": OPERATION,
    "monitor.read": MONITORING,
    "monitor.alarm": RISK,
}
