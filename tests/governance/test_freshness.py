"""A change of the base model: what becomes stale, and the cycle that is due."""

from pathlib import Path

import pytest

from governance import freshness
from governance.article_12 import POINTS
from governance.decision import check_evidence
from governance.entry import Event
from governance.errors import GateRefused
from governance.ledger import Ledger
from tests.governance.runs import OTHER, RUN, digest, make_notary, make_run
from tests.governance.test_schemas import FORMAT, problems

PATH, NEW = "data/models/base", "e" * 64


def meet(ledger: Ledger, base: str, run: str = "run-c") -> list[str]:
    stale = freshness.stale_evaluations(ledger, PATH, base)
    if stale:
        freshness.mark(ledger, stale, base, run, "user:a")
    return [s.run_id for s in stale]


def test_another_base_makes_every_earlier_evaluation_stale_once(tmp_path: Path) -> None:
    notary = make_notary(tmp_path)
    folder = make_run(notary, tmp_path / "records")
    ledger = notary.ledger
    assert isinstance(ledger, Ledger)
    same = digest(RUN, PATH)
    assert meet(ledger, same) == []
    assert freshness.cycle(ledger) is None
    assert freshness.stale_since(ledger.entries(RUN)) is None

    assert meet(ledger, NEW) == [RUN]
    assert meet(ledger, NEW) == []
    due = freshness.cycle(ledger)
    assert due is not None
    assert (due["status"], due["base_sha256"], due["stale"]) == ("due", NEW, [RUN])
    assert problems("cycle", due) == []
    said = freshness.stale_since(ledger.entries(RUN))
    assert said
    assert f"from {same[:12]} to {NEW[:12]} by run run-c" in said
    with pytest.raises(GateRefused, match="its evaluation is stale since"):
        check_evidence(ledger, RUN, folder)

    ledger.append(
        Event.CYCLE_DONE, run_id=OTHER, actor="a", subject_digests={"base": NEW}, data={"since": due["since"]}
    )
    done = freshness.cycle(ledger)
    assert done is not None
    assert (done["status"], done["done_by"]) == ("done", OTHER)
    assert problems("cycle", done) == []


def test_entries_name_the_event_of_article_12_that_they_are(tmp_path: Path) -> None:
    notary = make_notary(tmp_path)
    make_run(notary, tmp_path / "records")
    for entry in notary.ledger.entries():
        assert entry.data.get("ai_act") == POINTS.get(entry.type), entry.type
    text = FORMAT.read_text()
    for event in Event:
        assert f"`{event}`" in text, event
        if event in POINTS:
            (row,) = [line for line in text.splitlines() if line.startswith("|") and f"`{event}`" in line]
            assert POINTS[event].removeprefix("Art. 12").partition(":")[0] in row, event
    assert set(POINTS) <= set(Event)
