"""What makes a run start without a person, and that each cause starts one run.

A cause is known by its digest: the SHA-256 of the canonical JSON of its kind and of what identifies it (the slot of a
schedule, the MD5 of a data version, …). The digest stands in the first entry of the run that it started. A digest that
stands there starts nothing again, whoever sees it (two schedulers, an event that was delivered twice). A run that was
killed does not count, since what it was started for was not done; but what kills `ATTEMPTS` runs is not tried again.
"""

from dataclasses import dataclass, field
from typing import Any

from governance.digest import canonical_json, sha256_bytes
from governance.entry import Entry, Event
from governance.errors import BadInput
from governance.history import Readable
from governance.ledger import Log

ATTEMPTS = 3
KINDS = ("schedule", "data", "votes", "drift", "incident", "base", "labels")


class Answered(Exception):
    """A run was started for this cause before; `run_id` names it."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} was started for this cause before")
        self.run_id = run_id


@dataclass(frozen=True)
class Cause:
    """Why a run is to start: `identity` tells it from every other of its kind, `details` are for people."""

    kind: str
    identity: dict[str, str]
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of kind and identity."""
        return sha256_bytes(canonical_json({"kind": self.kind, "identity": self.identity}))

    def as_dict(self) -> dict[str, Any]:
        """JSON form, as in events and records."""
        return {"kind": self.kind, "digest": self.digest, "identity": self.identity, "details": self.details}


def read(document: dict[str, Any]) -> Cause:
    """The cause that an event brought. Raises BadInput if it is none."""
    kind, identity = document.get("kind"), document.get("identity")
    if kind not in KINDS or not isinstance(identity, dict) or not identity:
        raise BadInput(f"a cause {document!r:.200}: needs a kind ({', '.join(KINDS)}) and an identity.")
    cause = Cause(kind, {str(k): str(v) for k, v in identity.items()}, dict(document.get("details") or {}))
    if document.get("digest", cause.digest) != cause.digest:
        raise BadInput(f"a cause {cause.identity}: its digest is not that of its content; send it again.")
    return cause


def answered(ledger: Readable) -> dict[str, str]:
    """Digest of every cause for which a run was started that was not killed, or too many that were; and its last run."""
    runs: dict[str, list[str]] = {}
    killed: set[str] = set()
    for e in ledger.entries():
        if e.type == Event.RUN_STARTED and e.data.get("cause"):
            runs.setdefault(e.data["cause"]["digest"], []).append(e.run_id)
        elif e.type == Event.RUN_KILLED:
            killed.add(e.run_id)
    return {digest: ids[-1] for digest, ids in runs.items() if ids[-1] not in killed or len(ids) >= ATTEMPTS}


def begin(ledger: Log, cause: Cause, run_id: str, actor: str, **data: Any) -> Entry:
    """Append the first entry of a run, unless one was started for this cause: then raise Answered. Nobody comes between
    the question and the entry."""
    with ledger.batch() as add:
        if earlier := answered(ledger).get(cause.digest):
            raise Answered(earlier)
        data |= {"cause": cause.as_dict()}
        return add(Event.RUN_STARTED, run_id=run_id, actor=actor, subject_digests={"cause": cause.digest}, data=data)
