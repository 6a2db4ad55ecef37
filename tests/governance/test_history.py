"""What a run asks of the log is read once, and says what a reading of the whole log says."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from governance import freshness, incidents
from governance.history import History
from governance.incidents import Severity
from governance.ledger import Event, Ledger
from tests.governance.runs import OTHER, RUN, make_notary, make_run

BASE = "data/models/base"


class Counted(Ledger):
    """A log that counts the lines that are read from it."""

    read = 0

    def lines(self) -> Iterator[bytes]:
        for line in super().lines():
            self.read += 1
            yield line


def test_it_says_what_the_whole_log_says(tmp_path: Path) -> None:
    notary = make_notary(tmp_path)
    for run in (RUN, OTHER):
        notary.ledger.append(
            Event.CONFIGURATION, run_id=run, actor="a", subject_digests={}, data={"parameters": {"seed": run}}
        )
        make_run(notary, tmp_path / "records", run)
    ledger = Ledger(tmp_path / "ledger.jsonl")
    history = History(ledger)
    assert freshness.stale_evaluations(history, BASE, "e" * 64) == freshness.stale_evaluations(ledger, BASE, "e" * 64)
    freshness.mark(ledger, freshness.stale_evaluations(history, BASE, "e" * 64), "e" * 64, "run-c", "a")
    assert freshness.stale_evaluations(history, BASE, "e" * 64) == []
    assert freshness.cycle(history) == freshness.cycle(ledger)
    incidents.opened(
        ledger, severity=Severity.SERIOUS, summary="harm", actor="a", aware=datetime(2026, 3, 1, tzinfo=UTC), days={}
    )
    assert incidents.blocking(history) == incidents.blocking(ledger) != ()
    last = [e.data["parameters"]["seed"] for e in history.entries() if e.type == Event.CONFIGURATION]
    assert last == [OTHER]
    kept = len(list(history.entries()))
    assert kept < sum(1 for _ in ledger.entries())
    assert {e.run_id for e in history.entries(RUN)} == {RUN}


def test_a_second_question_parses_only_what_was_added(tmp_path: Path) -> None:
    notary = make_notary(tmp_path)
    make_run(notary, tmp_path / "records")
    history = History(Counted(tmp_path / "ledger.jsonl"))
    before = list(history.entries())
    notary.ledger.append(Event.RUN_STARTED, run_id="next", actor="a", subject_digests={}, data={})
    after = list(history.entries())
    assert after[: len(before)] == before
    assert [e.run_id for e in after[len(before) :]] == ["next"]
    assert all(a is b for a, b in zip(before, after, strict=False)), "an entry was read twice"
