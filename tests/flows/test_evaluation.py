"""What the person who decides is shown of an evaluation."""

from pathlib import Path

import pytest

from flows.evaluation import REPORT, folder_of, shown_report
from governance.digest import sha256_path, write_atomic
from governance.entry import Event
from governance.errors import GateRefused
from governance.ledger import Ledger

RUN = "20260101T000000Z-00000000"


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path))
    write_atomic(folder_of(RUN) / REPORT, "<h1>Evaluation</h1>")
    ledger = Ledger(tmp_path / "ledger.jsonl")
    digests = {"report": sha256_path(folder_of(RUN) / REPORT)}
    data = {"verdict": "kept", "sentence": "Every bound is kept."}
    ledger.append(Event.EVALUATED, run_id=RUN, actor="user:a", subject_digests=digests, data=data)
    return ledger


def test_the_verdict_and_the_reports_digest_are_shown(ledger: Ledger) -> None:
    line, seen = shown_report(RUN, ledger)
    assert "Every bound is kept." in line and seen["evaluation report"] in line
    assert seen == {"evaluation report": sha256_path(folder_of(RUN) / REPORT)}


def test_that_a_run_was_not_evaluated_is_shown(ledger: Ledger) -> None:
    line, seen = shown_report("another", ledger)
    assert (line, seen) == ("Evaluation: none was made; `attestrl evaluate another` makes one.\n", {})


@pytest.mark.parametrize("change", ["edited", "removed"])
def test_a_changed_report_is_refused(ledger: Ledger, change: str) -> None:
    file = folder_of(RUN) / REPORT
    file.unlink() if change == "removed" else file.write_text("<h1>Fine</h1>")
    with pytest.raises(GateRefused, match=r"is not the report that the ledger names"):
        shown_report(RUN, ledger)
