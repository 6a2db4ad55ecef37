"""`attestrl incident` as a person types it."""

import contextlib
import json
from pathlib import Path

import pytest

from tests.typed import attestrl


def test_an_incident_from_the_first_report_to_its_end(empty_project: Path) -> None:
    arguments = [
        "incident",
        "open",
        "--severity",
        "serious",
        "--summary",
        "unsafe advice",
        "--aware",
        "2026-03-01T00:00Z",
    ]
    opened = attestrl(empty_project, *arguments, "--json")
    assert opened.returncode == 0, opened.stderr
    record = json.loads(opened.stdout)
    assert record["due"] == "2026-03-16T00:00:00+00:00"
    assert record["blocks"]
    name = record["incident_id"]
    assert json.loads((empty_project / f".attestrl/incidents/{name}.json").read_text()) == record

    added = "data/raw/evals/constraints/prompts.jsonl"
    (empty_project / added).parent.mkdir(parents=True)
    (empty_project / added).write_text('{"prompt": "Hi"}\n')
    early = attestrl(empty_project, "incident", "close", name, "--cause", "x", "--evaluation", added)
    assert early.returncode == 2
    assert "report" in early.stderr
    done = attestrl(empty_project, "incident", "update", name, "--note", "sent", "--reported", "--contain")
    assert done.returncode == 0, done.stderr
    assert "No policy was champion" in done.stdout
    assert attestrl(empty_project, "incident", "close", name, "--cause", "x", "--evaluation", "absent").returncode == 2
    idle = attestrl(empty_project, "incident", "close", name, "--cause", "x", "--evaluation", "params.yaml")
    assert (idle.returncode, "does not read it" in idle.stderr) == (2, True), idle.stderr
    closed = attestrl(empty_project, "incident", "close", name, "--cause", "x", "--evaluation", added)
    assert closed.returncode == 0, closed.stderr
    (listed,) = json.loads(attestrl(empty_project, "incident", "list", "--json").stdout)
    assert listed["closed"]
    assert not listed["blocks"]
    assert name in attestrl(empty_project, "incident", "list").stdout
    assert attestrl(empty_project, "ledger", "verify").returncode == 0

    from flows.evaluation import unseen
    from tasks import params as parameters
    from tasks import paths

    def sentences() -> list[str]:
        return unseen(parameters.load(paths.PARAMS).suite)

    with contextlib.chdir(empty_project), pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTESTRL_HOME", str(empty_project / ".attestrl"))
        assert sentences() == []
        params = Path("params.yaml").read_text(encoding="utf-8")
        Path("params.yaml").write_text(params.replace(f"constraints: {added}", ""), encoding="utf-8")
        (sentence,) = sentences()
    assert name in sentence and "prompts.jsonl, with which it was closed, is no longer in the suite" in sentence


def test_words_that_nobody_knows(empty_project: Path) -> None:
    for arguments, word in (
        (["open", "--severity", "bad", "--summary", "x"], "severity"),
        (["update", "inc-1", "--note", "x"], "inc-1"),
    ):
        done = attestrl(empty_project, "incident", *arguments)
        assert done.returncode == 2
        assert word in done.stderr
