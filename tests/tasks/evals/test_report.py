"""The report opens from disk in a browser: verdict first, findings with examples, curves, slices; texts are escaped."""

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tasks.evals.report import write_report
from tasks.evals.verdict import verdict
from tasks.evaluation_params import Hypotheses

pytestmark = pytest.mark.xdist_group("evals")
HYPOTHESES = Hypotheses.model_validate(
    {
        "family": [
            {"metric": "preference/win_rate/policy_vs_sft", "at_least": 0.01},
            {"metric": "harm/rate/policy_minus_sft", "at_most": -1.0},
            {"metric": "nowhere", "at_most": 1},
        ]
    }
)


class Ids(HTMLParser):
    """Ids of elements, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [str(v) for k, v in attributes if k == "id"]


def made(folder: Path, results: dict[str, dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    evaluations = list(results.values())
    attack = {"severity": 2, "title": "<script>", "means": "m", "examples": [{"prompt": "<img src=x onerror=a()>"}]}
    evaluations[0] = evaluations[0] | {"findings": [attack]}
    rows = [r for e in evaluations for r in e["results"] if r["value"] is not None]
    decided = verdict(HYPOTHESES, rows)
    before = {(r["metric"], r["slice"]): r | {"low": r["low"] - 9, "high": r["low"] - 8} for r in rows}
    policy = {"name": "p", "version": "3", "sha256": "0" * 64}
    write_report(
        folder / "report.html",
        run_id="run-1",
        policy=policy,
        evaluations=evaluations,
        verdict=decided,
        champion=("run-0", before),
        simulated=["the annotators"],
    )
    return folder / "report.html", decided


def test_the_verdict_names_what_is_broken_and_what_was_not_measured(
    tmp_path: Path, results: dict[str, dict[str, Any]]
) -> None:
    _, decided = made(tmp_path, results)
    assert [h["verdict"] for h in decided["hypotheses"]][1:] == ["broken", "not measured"]
    assert decided["verdict"] == "broken" and "should not be released" in decided["sentence"]


def test_an_incident_that_would_come_back_unseen_keeps_a_verdict_open(results: dict[str, dict[str, Any]]) -> None:
    family = [{"metric": "preference/win_rate/policy_vs_sft", "at_least": -1.0}]
    kept = Hypotheses.model_validate({"family": family})
    rows = results["preference"]["results"]
    assert verdict(kept, rows)["verdict"] == "kept"
    open_ = verdict(kept, rows, ["inc-1 would come back unseen: x.jsonl."])
    assert open_["verdict"] == "undecided" and "inc-1 would come back unseen" in open_["sentence"]


def test_the_page_is_whole_and_escaped(tmp_path: Path, results: dict[str, dict[str, Any]]) -> None:
    page = made(tmp_path, results)[0].read_text(encoding="utf-8")
    ids = Ids()
    ids.feed(page)
    assert ids.found == ["verdict", "hypotheses", "findings", "champion", "curves", "figures", "bytes"]
    assert "&lt;script&gt;" in page and "<script" not in page and "<img src=x" not in page
    assert "http://" not in page and "https://" not in page
    assert "differs" in page and "Simulated: the annotators" in page and page.count("data:image/png") >= 2


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium on this machine")
def test_it_opens_in_a_browser(tmp_path: Path, results: dict[str, dict[str, Any]]) -> None:
    path, decided = made(tmp_path, results)
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*command, "--virtual-time-budget=2000", "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert decided["sentence"] in done.stdout
    assert done.stdout.index('id="verdict"') < done.stdout.index('id="findings"')
