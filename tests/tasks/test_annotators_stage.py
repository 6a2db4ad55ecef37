"""The stage `annotators`: its report opens from disk, is in MLflow, and stops the run when too many are flagged."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from governance.errors import GateRefused
from tasks.paths import AUDIT_NAMES, PEOPLE
from tasks.votes import GOLDEN, VOTES
from tests.conftest import run_stage_in

ROOT = Path(__file__).resolve().parents[2]


def table(schema: dict[str, object], **columns: object) -> pl.DataFrame:
    given = pl.DataFrame(columns)
    return given.select(
        pl.col(n).cast(k) if n in given.columns else pl.lit(None, dtype=k).alias(n) for n, k in schema.items()
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Votes of thirty simulated annotators, of whom two turn answers round, and an audited set."""
    folder = tmp_path_factory.mktemp("annotators")
    shutil.copy2(ROOT / "params.yaml", folder / "params.yaml")
    rng = np.random.default_rng(0)
    who, item = rng.integers(0, 30, 4000), rng.integers(0, 500, 4000)
    truth = rng.integers(0, 2, 500)
    right = rng.random(4000) < np.where(who < 2, 0.1, 0.85)
    votes = table(
        VOTES,
        item_id=[f"i{k}" for k in item],
        annotator_id=[f"sim-{k:03d}" for k in who],
        choice=np.where(right, truth[item], 1 - truth[item]),
        confidence=rng.uniform(0.5, 1, 4000),
        simulated=[True] * 4000,
    ).unique(["item_id", "annotator_id"], keep="first", maintain_order=True)
    golden = table(GOLDEN, item_id=[f"i{k}" for k in range(100)], gold_choice=truth[:100], simulated=[True] * 100)
    for place in ("data/interim/valid", "data/interim/valid/audits/mine"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        votes.write_parquet(folder / place / "votes.parquet")
    golden.write_parquet(folder / "data/interim/valid/golden.parquet")
    (folder / AUDIT_NAMES).write_text('["mine"]', encoding="utf-8")
    (folder / PEOPLE).parent.mkdir(parents=True)
    pl.DataFrame(schema={"annotator_id": pl.String}).write_parquet(folder / PEOPLE)
    return folder


def test_the_report_is_written_and_logged(project: Path) -> None:
    record = run_stage_in(project, "annotators")
    out = project / "data/reports/annotators"
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "These votes are simulated" in page
    assert 'id="a1"' in page
    assert "sim-000" in page  # pseudonyms and simulated names stay
    assert json.loads((out / "report.json").read_text())["people"][0]["flag"]
    assert (out / "audits/mine/report.html").is_file()
    assert record["notes"]["gate"] == "pass"
    logged = {p.name for p in project.rglob("artifacts/**/*") if p.is_file()}
    assert {
        "report.html",
        "report.json",
        "annotators.csv",
        "summary.json",
        "reliability.png",
        "calibration.png",
    } <= logged


def test_the_same_votes_give_the_same_bytes(project: Path) -> None:
    out = project / "data/reports/annotators"
    names = ("report.html", "report.json", "annotators.csv", "reliability.png", "calibration.png")
    before = {name: (out / name).read_bytes() for name in names}
    run_stage_in(project, "annotators")
    assert {name: (out / name).read_bytes() for name in names} == before


def test_too_many_flagged_stop_the_run(project: Path) -> None:
    with pytest.raises(GateRefused, match=r"2 of 30 annotators .* row 1, 2 of data/reports/annotators/annotators.csv"):
        run_stage_in(project, "annotators", annotators={"max_flagged_share": 0.05})
