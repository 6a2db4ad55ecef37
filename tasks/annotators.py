"""Stage `annotators`: whom of the people behind the votes to trust, and how much."""

import json
from pathlib import Path

import polars as pl

from governance.errors import GateRefused
from tasks import paths
from tasks.annotator_report import FILES, PICTURES, write_pages, write_pictures
from tasks.check_annotators import AnnotatorReport, judge
from tasks.polls import poll
from tasks.progress import bar
from tasks.stage import Stage, run_stage
from tasks.tables import read_chunks

NAMED = 5


def body(stage: Stage) -> None:
    """Write `data/reports/annotators`: the pipeline's own votes, and each audited set in a folder of its own."""
    audits = [paths.AUDITS / name for name in json.loads(paths.AUDIT_NAMES.read_text(encoding="utf-8"))]
    with bar(1 + len(audits), "annotators", "set") as progress:
        own = _check(stage, paths.VALID, stage.report)
        progress.update()
        for folder in audits:
            audit = _check(stage, folder, stage.report / "audits" / folder.name)
            stage.log_metrics({f"audit/{folder.name}/flagged": float(audit.summary["flagged"])})
            progress.update()
    for name in (*FILES, *PICTURES):
        if (stage.report / name).is_file():
            stage.log_artifact(stage.report / name)
    flagged = own.table.filter("flag")
    stage.log_metrics({"annotators": float(own.table.height), "flagged": float(flagged.height)})
    most = stage.params.annotators.max_flagged_share
    if own.table.height and flagged.height / own.table.height > most:
        rows = own.table.with_row_index("row", offset=1).filter("flag")["row"].head(NAMED).to_list()
        raise GateRefused(
            f"{flagged.height} of {own.table.height} annotators are not to be trusted (limit {most:.0%}), "
            f"such as in row {', '.join(map(str, rows))} of {stage.report / 'annotators.csv'}; have their items voted on anew."
        )
    stage.notes["gate"] = "pass"


def _check(stage: Stage, source: Path, out: Path) -> AnnotatorReport:
    votes = stage.input_table(source / "votes.parquet", "audit")
    golden_file = source / "golden.parquet"
    golden = pl.read_parquet(stage.input_table(golden_file, "audit")) if golden_file.is_file() else None
    people = pl.read_parquet(stage.input_table(paths.PEOPLE, "audit")) if source == paths.VALID else None
    report = judge(poll(read_chunks(votes), golden), stage.params.annotators, people)
    write_pages(report.table, report.summary, out, named=True)
    write_pictures(report.table, report.summary, out)
    return report


if __name__ == "__main__":
    run_stage("annotators", body)
