"""Stage `poisoning`: rows that somebody may have planted, set aside before anything is trained on them."""

from governance.digest import write_jsonl
from governance.errors import GateRefused
from tasks import paths
from tasks.check_poisoning import ROWS, check_poisoning, reasons, summary
from tasks.poisoning_report import write_report
from tasks.stage import Stage, run_stage
from tasks.suspicions import of_demonstrations, of_preferences
from tasks.tables import read_chunks

NAMED = 5


def body(stage: Stage) -> None:
    """Write `data/reports/poisoning`."""
    pairs = stage.input_table(paths.VALID / "preferences.parquet", "audit")
    shown = stage.input_table(paths.VALID / "demonstrations.parquet", "audit")
    settings = stage.params.poisoning
    preferences = of_preferences(read_chunks(pairs, rows=ROWS))
    # Demonstrations that were cut from the preferences repeat their rows: they are searched with them.
    separate = stage.params.ingest.demonstrations is not None
    demonstrations = of_demonstrations(read_chunks(shown, rows=ROWS)) if separate else None
    checked = check_poisoning(preferences, demonstrations, settings, stage.seed)
    said = reasons(checked.findings)
    write_jsonl(stage.report / "quarantined.jsonl", [{"id": i, "reason": r} for i, r in said.items()])
    result = summary(checked, preferences.height)
    write_report(stage.report, checked.findings, preferences, result, settings, stage.seed)
    for name in ("findings.json", "summary.json", "report.html", "poisoning.png"):
        stage.log_artifact(stage.report / name)
    stage.log_metrics({"findings": float(len(checked.findings)), "rows/quarantined": float(len(said))})
    if len(said) > settings.max_quarantine_share * preferences.height:
        raise GateRefused(
            f"{len(said)} of {preferences.height} rows look planted (limit {settings.max_quarantine_share:.0%}), "
            f"such as {', '.join(list(said)[:NAMED])}; see {stage.report / 'findings.json'}, then remove or explain them."
        )
    stage.notes["gate"] = "pass"


if __name__ == "__main__":
    run_stage("poisoning", body)
