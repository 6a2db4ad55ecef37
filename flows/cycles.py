"""Full cycles that a change of the base model makes due, with their record `<home>/cycle.json`."""

from governance import freshness
from governance.digest import write_json
from governance.entry import Event
from governance.history import Readable
from governance.ledger import Log
from tasks import paths


def meet_base(ledger: Log, history: Readable, run_id: str, actor: str, base_sha256: str) -> None:
    """Mark evaluations on another base as stale, if there are any, and record that a full cycle is due."""
    stale = freshness.stale_evaluations(history, paths.BASE.as_posix(), base_sha256)
    if stale:
        freshness.mark(ledger, stale, base_sha256, run_id, actor)
        _write(history)


def went_through(ledger: Log, history: Readable, run_id: str, actor: str, base_sha256: str | None) -> None:
    """A run has gone all the way on this base: record that the cycle that was due is done."""
    due = freshness.cycle(history)
    if due and due["status"] == freshness.DUE and due["base_sha256"] == base_sha256:
        digests = {"base": due["base_sha256"]}
        ledger.append(
            Event.CYCLE_DONE, run_id=run_id, actor=actor, subject_digests=digests, data={"since": due["since"]}
        )
        _write(history)


def _write(history: Readable) -> None:
    write_json(paths.home() / "cycle.json", freshness.cycle(history))
