"""What a run asks of the log is read once, and says what a reading of the whole log says."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from governance import freshness, incidents
from governance.entry import Event
from governance.history import History
from governance.incidents import Severity
from governance.ledger import Ledger
from tests.governance.runs import OTHER, RUN, make_notary, make_run

BASE = "data/models/base"


class Counted(Ledger):
    """A log that counts the lines that are read from it."""

    read = 0

    def lines(self, after: int = 0) -> Iterator[bytes]:
        for line in super().lines(after):
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


def test_a_second_question_reads_only_what_was_added(tmp_path: Path) -> None:
    notary = make_notary(tmp_path)
    make_run(notary, tmp_path / "records")
    counted = Counted(tmp_path / "ledger.jsonl")
    history = History(counted)
    before = list(history.entries())
    counted.read = 0
    notary.ledger.append(Event.RUN_STARTED, run_id="next", actor="a", subject_digests={}, data={})
    after = list(history.entries())
    assert after[: len(before)] == before
    assert [e.run_id for e in after[len(before) :]] == ["next"]
    assert all(a is b for a, b in zip(before, after, strict=False)), "an entry was read twice"
    assert counted.read == 1


def test_a_line_cut_by_a_crash_hides_nothing_that_comes_in_its_place(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    history = History(ledger)

    def start(run: str) -> None:
        ledger.append(Event.RUN_STARTED, run_id=run, actor="a", subject_digests={}, data={})

    start("one")
    with ledger.path.open("ab") as file:
        file.write(b'{"actor":"a","data"')
    assert [e.run_id for e in history.entries()] == ["one"]
    start("two")
    assert [e.run_id for e in history.entries()] == ["one", "two"]


def test_lines_from_any_place_on(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    with ledger.batch() as add:
        for run in range(5):
            add(Event.RUN_STARTED, run_id=str(run), actor="a", subject_digests={}, data={})
    every = list(ledger.lines())
    for after in (3, 5, 0, 4, 6, 1):
        assert list(ledger.lines(after)) == every[after:]
    ledger.path.write_bytes(b"".join(every[:2]))
    assert list(ledger.lines(1)) == every[1:2]
    assert list(ledger.lines(4)) == []
