"""`attestrl privacy`: erase a person, look after retention, write the records of processing."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.printing import Json, print_result

app = typer.Typer(no_args_is_help=True, help="Erasure, retention, records of processing.")


@app.command()
def erase(
    annotator: Annotated[str, typer.Argument(help="Identifier as the vendor gives it, or pseudonym.")],
    as_json: Json = False,
) -> None:
    """Remove a person's rows from the workspace, every cached version, the remotes and MLflow's store; later runs leave
    them out. Exit code 1 while git still has them."""
    from flows import erasure, project
    from governance.decision import current_actor

    project.enter()
    found = erasure.erase(annotator, current_actor(), lambda text: typer.echo(text, err=True))

    def people(_: Any) -> None:
        for place in found["git"]:
            typer.echo(f"→ git still has rows of this person: {place}")
        if found["git"]:
            typer.echo(
                "Not complete: the owner of the repository rewrites its history, in clones and remotes as well "
                "(docs/privacy.md), then type this again."
            )
        if "rows" not in found:
            typer.echo("No other place holds rows of this person any more: they were erased before.")
            return
        typer.echo(
            f"Erased: {found['rows']} rows in {found['files']} files and {found['artifacts']} artifacts elsewhere; "
            f"entry {found['erasure']} of the audit log."
        )
        for run, policy in found["policies"].items():
            typer.echo(f"  trained on them: policy {policy[:12]} of run {run}")
        for file in found["raw_files"]:
            typer.echo(f"→ {file} still names the person: its owner must edit it; runs leave the person out meanwhile")
        typer.echo(
            "→ attestrl run  makes the tables without them; whether models are trained anew is for a person to decide"
        )

    print_result(found, as_json, people)
    raise typer.Exit(0 if found["complete"] else 1)


@app.command()
def retention(
    act: Annotated[
        bool, typer.Option("--act", help="Do what is declared: delete what is due with every version, or record it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show until when each source may be kept, and what is due; with --act, act on it. Exit code 1 if something is due."""
    from flows import project
    from governance.decision import current_actor

    project.enter()
    from flows import retention as acting

    if act:
        acting.act(current_actor(), lambda text: typer.echo(text, err=True))
    found = acting.states(acting.history())

    def people(_: Any) -> None:
        from rich.console import Console
        from rich.table import Table

        table = Table("source", "state", "retain until", "then", box=None, pad_edge=False)
        for one in found:
            table.add_row(one["source"], one["state"], one["retain_until"] or "", one["action"] or "")
        Console(highlight=False, soft_wrap=True).print(table)

    print_result(found, as_json, people)
    raise typer.Exit(1 if any(one["state"] == "due" for one in found) else 0)


@app.command()
def ropa(out: Annotated[Path, typer.Option("--out", help="Markdown file to write.")]) -> None:
    """Write the records of processing (Article 30 GDPR) and inputs to an impact assessment, gaps visible."""
    from flows import processing, project
    from governance.digest import write_atomic

    target = out.absolute()
    project.enter()
    text = processing.ropa(datetime.now(UTC).date())
    write_atomic(target, text)
    typer.echo(f"{out}: {text.count('**Missing**') - 1} answers are missing, each with whom to ask.")
