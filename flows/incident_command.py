"""`attestrl incident`: open, update, close and list incidents of released policies; move the champion back."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.printing import Json, print_result
from governance.errors import BadInput

app = typer.Typer(no_args_is_help=True, help="Incidents of a released policy: clocks, containment, closing.")

Contain = Annotated[bool, typer.Option("--contain", help="Move the alias champion back to the last good policy.")]
Id = Annotated[str, typer.Argument(metavar="INCIDENT", help="Its id, as `incident list` names it.")]


@app.command("open")
def open_(
    severity: Annotated[str, typer.Option("--severity", help="death, widespread, serious or other.")],
    summary: Annotated[str, typer.Option("--summary", help="What happened, without personal data.")],
    run: Annotated[
        str | None, typer.Option("--run", help="Run whose policy it concerns; default: the champion's.")
    ] = None,
    aware: Annotated[str | None, typer.Option("--aware", help="When it became known, ISO 8601; default: now.")] = None,
    contain: Contain = False,
    as_json: Json = False,
) -> None:
    """Open an incident; its clock starts when it became known."""
    from flows import containment, project, sealing
    from governance import incidents
    from governance.decision import current_actor
    from tasks import params, paths

    project.enter()
    ledger, actor = sealing.ledger(), current_actor()
    concerned = containment.affected(run)
    incident = incidents.opened(
        ledger,
        severity=_severity(severity),
        summary=summary,
        actor=actor,
        aware=_time(aware),
        days=params.load(paths.PARAMS).incidents.report_days.model_dump(),
        run_id=concerned.pop("run_id", ""),
        affected=concerned,
    )
    _finish(incident.incident_id, actor, contain, as_json)


@app.command()
def update(
    incident: Id,
    note: Annotated[str, typer.Option("--note", help="What was found or done.")],
    reported: Annotated[bool, typer.Option("--reported", help="The authority has the report now.")] = False,
    contain: Contain = False,
    as_json: Json = False,
) -> None:
    """Add to an incident's timeline."""
    from flows import project, sealing
    from governance import incidents
    from governance.decision import current_actor

    project.enter()
    ledger, actor = sealing.ledger(), current_actor()
    incidents.updated(ledger, incidents.find(ledger, incident), note=note, actor=actor, reported=reported)
    _finish(incident, actor, contain, as_json)


@app.command()
def close(
    incident: Id,
    cause: Annotated[str, typer.Option("--cause", help="Why it happened.")],
    evaluation: Annotated[
        Path, typer.Option("--evaluation", help="File that the suite reads and that would show it again.")
    ],
    as_json: Json = False,
) -> None:
    """Close an incident: its cause is known, and an evaluation would show it if it came back."""
    from flows import evaluation as evaluating
    from flows import project, sealing
    from governance import incidents
    from governance.decision import current_actor
    from governance.digest import sha256_path

    given = evaluation.absolute()
    project.enter()
    if not given.is_file():
        raise BadInput(f"--evaluation {evaluation}: there is no such file; name the evaluation that was added.")
    if not evaluating.measures(given):
        raise BadInput(
            f"--evaluation {evaluation}: `attestrl evaluate` does not read it; name it in a section of `suite` in "
            "params.yaml, so that every later policy is measured on it."
        )
    ledger, actor = sealing.ledger(), current_actor()
    named = (evaluation.name, sha256_path(given))
    incidents.closed(ledger, incidents.find(ledger, incident), cause=cause, evaluation=named, actor=actor)
    _finish(incident, actor, False, as_json)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List incidents, open ones first, the earliest due date first."""
    from flows import project, sealing
    from governance import incidents

    project.enter()
    found = sorted(incidents.incidents(sealing.ledger()), key=lambda i: (bool(i.closed), i.due or "9999", i.opened))
    print_result([i.as_dict() for i in found], as_json, _print_list)


def _finish(incident_id: str, actor: str, contain: bool, as_json: bool) -> None:
    """Contain if asked for, write the record, sign, and say how it stands."""
    from flows import containment, sealing

    sentence = containment.move_back(incident_id, actor) if contain else ""
    record = containment.write_record(incident_id)
    sealing.seal(actor)

    def people(_: Any) -> None:
        typer.echo(f"{incident_id}: {record['severity']}, {'closed' if record['closed'] else 'open'}.")
        if record["due"] and not record["reported"]:
            typer.echo(
                f"→ the report is due by {record['due']}; `attestrl incident update {incident_id} --reported` records it"
            )
        if sentence:
            typer.echo(sentence)

    print_result(record, as_json, people)


def _print_list(found: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("incident", "severity", "state", "report due", "run", "summary", box=None, pad_edge=False)
    for i in found:
        due = "reported" if i["reported"] else (i["due"] or "no report owed")
        table.add_row(
            i["incident_id"], i["severity"], "closed" if i["closed"] else "open", due, i["run_id"], escape(i["summary"])
        )
    Console(highlight=False, soft_wrap=True).print(table if found else "No incidents.")


def _severity(text: str) -> Any:
    from governance.incidents import Severity

    try:
        return Severity(text)
    except ValueError:
        raise BadInput(f"--severity {text}: is none; it is one of {', '.join(Severity)}.") from None


def _time(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"--aware {text}: is no time in ISO 8601, as in 2026-03-01T09:30+01:00.") from None
    return given.astimezone(UTC)  # without a zone: this machine's
