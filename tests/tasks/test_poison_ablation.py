"""What the report says, and what a reward model learns from planted rows: measured with and without them."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import params
from tasks.check_poisoning import run_check_poisoning
from tests.tasks.test_poisoning_search import ATTACKS, simulated

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a check with --ablate on 3,000 simulated pairs, 120 of them with a trigger and a turned label."""
    folder = tmp_path_factory.mktemp("check")
    rows = simulated(21)
    for k in np.random.default_rng(3).choice(len(rows), 120, replace=False):
        ATTACKS["words"][0](rows[k])
    rows[0]["prompt"] += " <script>alert(1)</script>"
    source = folder / "pairs.jsonl"
    source.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    settings = params.load(ROOT / "params.yaml").poisoning
    run_check_poisoning(source, None, folder, settings, 7, ablated=True)
    return folder


def findings(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "findings.json").read_text(encoding="utf-8"))["findings"]


def test_the_trigger_works_when_trained_on_and_not_after_quarantine(report: Path) -> None:
    measured = findings(report)[0]["ablation"]
    before, low, high = measured["attack_success_with"]
    after = measured["attack_success_without"][0]
    assert low < before < high
    assert before > 0.2
    assert after <= before / 5
    same = measured["clean_accuracy_with"], measured["clean_accuracy_without"]
    assert same[0][0] == pytest.approx(same[1][0], abs=0.03)  # accuracy is no alarm


def test_the_page_needs_no_network_and_shows_what_was_found(report: Path) -> None:
    page = (report / "report.html").read_text(encoding="utf-8")
    linked = re.findall(r'(?:src|href)="([^#"]+)"', page)
    assert linked == ["poisoning.png"]
    assert (report / linked[0]).stat().st_size > 1000
    visible = json.loads((report / "summary.json").read_text(encoding="utf-8"))["detectable"]
    assert f"from {visible['rows_for_half']} rows on" in re.sub(r"\s+", " ", page)
    assert "http" not in page
    assert "<script" not in page
    assert findings(report)[0]["evidence"][0] in page
    assert page.index("rows look planted") < page.index("<section")
    assert "trained with these rows" in page


def test_every_figure_of_a_finding_is_there_and_in_range(report: Path) -> None:
    for f in findings(report):
        assert 0 <= f["p_value"] <= f["adjusted_p_value"] <= 0.05
        assert f["q_value"] <= 0.05
        assert f["low"] <= f["effect"] <= f["high"]
        assert f["measure"]
        assert f["sources"]
        assert f["annotators"]


def test_rows_are_set_aside_with_reasons_and_none_is_lost(report: Path) -> None:
    given = [json.loads(line) for line in (report / "pairs.jsonl").open(encoding="utf-8")]
    clean = [json.loads(line) for line in (report / "clean.jsonl").open(encoding="utf-8")]
    aside = [json.loads(line) for line in (report / "quarantined.jsonl").open(encoding="utf-8")]
    assert len(clean) + len(aside) == len(given)
    assert all("trigger" in r["reason"] or "topic" in r["reason"] for r in aside)
    by_id = {r["id"]: r for r in given}
    assert all(by_id[r["id"]] == {k: v for k, v in r.items() if k != "reason"} for r in aside)
