"""`attestrl check`: whom and what to trust, on a vendor's file, useful without the rest."""

from pathlib import Path
from typing import Annotated

import typer

from flows.printing import Json, print_result

app = typer.Typer(no_args_is_help=True, help="Whom and what to trust, on a file of your own.")

Out = Annotated[Path, typer.Option("--out", help="Folder for the report; made if absent.")]


@app.command()
def annotators(
    votes: Annotated[Path, typer.Option("--votes", help="item_id, annotator_id, choice … (CSV, JSONL, Parquet).")],
    out: Out,
    golden: Annotated[Path | None, typer.Option("--golden", help="item_id, gold_choice.")] = None,
    people: Annotated[
        Path | None, typer.Option("--annotators", help="annotator_id and demographics: accuracy on golden by group.")
    ] = None,
    onboarding: Annotated[
        str | None, typer.Option("--onboarding", help="An annotator_id: a report on this one, as for somebody new.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which annotators can be trusted: report.html, report.json, annotators.csv and summary.json in --out."""
    from flows import project, summary
    from tasks.check_annotators import run_check_annotators

    settings = project.settings()
    result = run_check_annotators(votes, golden, out, settings.annotators, people, onboarding)
    print_result(result, as_json, lambda r: summary.print_check("annotators", r, out))


@app.command()
def poisoning(
    preferences: Annotated[Path, typer.Option("--preferences", help="prompt, chosen, rejected in TRL's formats.")],
    out: Out,
    demonstrations: Annotated[Path | None, typer.Option("--demonstrations", help="messages.")] = None,
    ablate: Annotated[
        bool, typer.Option("--ablate", help="Measure what a reward model learns from each finding.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look for poisoned rows: report.html, findings.json, clean.jsonl and quarantined.jsonl in --out."""
    from flows import project, summary
    from tasks.check_poisoning import run_check_poisoning

    settings = project.settings()
    result = run_check_poisoning(preferences, demonstrations, out, settings.poisoning, settings.seed, ablated=ablate)
    print_result(result, as_json, lambda r: summary.print_check("poisoning", r, out))
