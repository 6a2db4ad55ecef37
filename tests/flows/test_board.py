"""The table of runs and their metrics, from the audit log."""

import json
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from flows.board import Board, table, write_metrics
from governance.entry import Event
from governance.ledger import Ledger
from tests.typed import attestrl

FIRST, SECOND = "20260101T000000Z-0a1b2c3d", "20260101T000000Z-1a1b2c3d"


def log(ledger: Ledger, run_id: str, event: Event, **data: object) -> None:
    ledger.append(event, run_id=run_id, actor="user:a", subject_digests={}, data=data)


def test_the_table_goes_on_with_the_log(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    board = Board(ledger)
    assert board.rows() == []
    log(ledger, FIRST, Event.RUN_STARTED, until="validate", cause={"kind": "votes"})
    log(ledger, FIRST, Event.STAGE_MADE, stage="ingest")
    (row,) = board.rows()
    assert (row.status, row.stage, row.cause, row.ended) == ("running", "validate", "votes", None)
    log(ledger, FIRST, Event.STAGE_FAILED, stage="validate")
    log(ledger, FIRST, Event.RUN_FAILED, status="failed", message="[bold]rows 3 and 4")
    log(ledger, SECOND, Event.RUN_STARTED, until="evaluate", cause=None)
    first, second = board.rows()
    assert (first.status, first.stage, second.stage) == ("failed", "", "ingest")
    with ledger.path.open("ab") as half:  # another process is writing
        half.write(b'{"seq":')
    assert len(board.rows()) == 2
    console = Console(width=200, record=True, file=(tmp_path / "out").open("w"))
    console.print(table(board.rows(), datetime.now(UTC)))
    lines = console.export_text().splitlines()
    assert lines[1].split()[:4] == [SECOND, "running", "ingest", "0/10"]
    assert "2/2" in lines[2]
    assert "[bold]rows 3 and 4" in lines[2]


def test_metrics_follow_from_the_log(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for run_id, status in ((FIRST, "done"), (SECOND, "refused")):
        log(ledger, run_id, Event.RUN_STARTED, until="evaluate", cause=None)
        log(ledger, run_id, Event.STAGE_CACHED, stage="ingest")
        log(ledger, run_id, Event.RUN_ENDED, status=status, message="")
    log(ledger, "20260102T000000Z-1a1b2c3d", Event.RUN_STARTED, until="evaluate", cause=None)
    write_metrics(Board(ledger).rows(), 1, tmp_path / "runs.prom")
    lines = (tmp_path / "runs.prom").read_text().splitlines()
    for line in (
        'attestrl_runs_total{status="done"} 1.0',
        'attestrl_runs_total{status="refused"} 1.0',
        'attestrl_stages_total{outcome="cached",stage="ingest"} 2.0',
        "attestrl_runs_open 1.0",
        "attestrl_releases_waiting 1.0",
    ):
        assert line in lines


def test_a_table_for_people_is_no_document(empty_project: Path) -> None:
    done = attestrl(empty_project, "runs", "--watch", "--json")
    assert (done.returncode, json.loads(done.stdout)["exit_code"]) == (2, 2)
