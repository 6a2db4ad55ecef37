"""The `attestrl` command: parses, calls, prints. The one place where errors become sentences and exit codes.

Nothing heavy is imported here: `attestrl --help` answers at once.
"""

import atexit
import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from flows import check_command, evidence_command, incident_command, ledger_command, privacy_command
from flows.printing import Json, print_error, print_result
from governance.errors import AttestError, BadInput, explained

# New objects after which Python looks for garbage. What libraries load stays: at Python's own 700 the looking takes a quarter of
# the time that they need.
NEW_OBJECTS = 200_000

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="RLHF as a workflow that teams can schedule, reproduce and defend.",
)
app.add_typer(check_command.app, name="check")
app.add_typer(ledger_command.app, name="ledger")
app.add_typer(evidence_command.app, name="evidence")
app.add_typer(incident_command.app, name="incident")
app.add_typer(privacy_command.app, name="privacy")

Reason = Annotated[str, typer.Option("--reason", help="Why; it goes into the audit log.")]


@app.command()
def run(
    params: Annotated[Path | None, typer.Option("--params", help="YAML file whose values go into params.yaml.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value, written into params.yaml.")] = None,
    until: Annotated[str, typer.Option("--until", help="Last stage to run.")] = "evaluate",
    verify: Annotated[
        str | None, typer.Option("--verify", metavar="RUN", help="Make a past run again, apart, and compare.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the pipeline: what is unchanged is kept, what was interrupted goes on."""
    from flows import project, summary
    from flows.beside import beside
    from tasks.paths import STAGES

    if verify:
        _make_again(verify, as_json)
    if until not in STAGES:
        raise BadInput(f"--until {until}: is not a stage; the stages are {', '.join(STAGES)}.")
    overlay = params.absolute() if params else None
    project.enter()
    with beside("mlflow") as mlflow:
        from flows.run import execute

        shown = summary.Live()
        record = execute(lambda: project.set_params(overlay, set_ or []), shown.on_stage, until=until, mlflow=mlflow)
    more = record.get("round", {}).get("state") == "more"
    if not (more and as_json):  # one document: that of the last round
        print_result(record, as_json, summary.print_run)
    if more:  # a process for each round, as for each run
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", "flows.cli", "run", *(["--json"] if as_json else [])])
    if record["message"]:
        typer.echo(f"attestrl: {record['message']}", err=True)
    raise typer.Exit(record["exit_code"])


def _make_again(run: str, as_json: bool) -> None:
    from flows import project, summary

    project.enter()
    from flows.verification import make_again

    found = make_again(run)
    print_result(found, as_json, summary.print_verification)
    raise typer.Exit(0 if found["same"] else 1)


@app.command()
def runs(
    watch: Annotated[bool, typer.Option("--watch", help="Show them as they go on, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """List the runs of this project, latest first."""
    from flows import board, listing, project, sealing, summary

    project.enter()
    if watch and as_json:
        raise BadInput("--watch: is a table for people; leave --json out, or --watch.")
    if watch:
        board.watch(sealing.ledger())
    print_result(listing.runs(), as_json, summary.print_runs)


@app.command()
def show(run: Annotated[str, typer.Argument(help="Run id, or 'latest'.")], as_json: Json = False) -> None:
    """Show one run: stages, outputs, metrics, verdict, records."""
    from flows import listing, project, summary

    project.enter()
    print_result(listing.load(run), as_json, summary.print_run)


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="Run id, or 'latest'.")] = "latest",
    suite: Annotated[list[str] | None, typer.Option("--suite", help="One evaluation; default: all of them.")] = None,
    as_json: Json = False,
) -> None:
    """Evaluate the policy and the reward models of a run: results, a verdict on the declared bounds, report.html."""
    from flows import project, summary

    project.enter()
    from flows.evaluation import evaluate as measure

    found = measure(run, suite or [])
    print_result(found, as_json, summary.print_evaluation)
    raise typer.Exit(1 if found["verdict"] == "broken" else 0)


@app.command()
def review(
    run: Annotated[str, typer.Argument(help="Run id, or 'latest'.")] = "latest",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8600,
    export: Annotated[
        Path | None, typer.Option("--export", help="Write what people said there, serve nothing.")
    ] = None,
    for_: Annotated[
        str | None, typer.Option("--for", help="With --export: open items for argilla or label-studio instead.")
    ] = None,
    import_: Annotated[
        Path | None, typer.Option("--import", help="Answers that Argilla or Label Studio exported, serve nothing.")
    ] = None,
) -> None:
    """Open a page on localhost on which people rate and rank what the evaluation of a run found, until Ctrl-C."""
    import secrets

    from flows import project

    if for_ not in (None, "argilla", "label-studio") or (for_ and not export):
        raise BadInput(f"--for {for_}: name argilla or label-studio, and a folder with --export.")
    target, given = (p.absolute() if p else None for p in (export, import_))
    if target and target.is_file():
        raise BadInput(f"--export {export}: is a file; name a folder, which may be new.")
    project.enter()
    from flows import review as reviewing

    if given:
        typer.echo(f"{reviewing.take_in(given)} answers of {given}.")
        return
    if target and for_:
        reviewing.fill(run)
        written = reviewing.export_tasks(target, for_)
        typer.echo(
            f"{', '.join(f'{n} open items {name}' for name, n in written.items()) or 'Nothing is open'}: {target}."
        )
        return
    if target:
        written = reviewing.export(target)
        typer.echo(f"{', '.join(f'{n} {name}' for name, n in written.items())} in {target}.")
        return
    run_id, new = reviewing.fill(run)
    place, token = reviewing.bound(port), secrets.token_urlsafe(24)
    typer.echo(f"{new} new items of {run_id}. Open http://127.0.0.1:{port}/?token={token}")
    reviewing.serve(place, token)


@app.command()
def monitor(
    logs: Annotated[list[Path], typer.Argument(metavar="LOG…", help="Prompts and responses, one JSON object a line.")],
    run: Annotated[
        str | None, typer.Option("--run", help="Run whose policy answered; default: the champion's, or the last.")
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option("--metrics", help="Prometheus text file; default: .attestrl/monitor/attestrl.prom.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read logs of the deployed policy, each response once, and raise an alarm where something drifts."""
    from flows import project, summary

    named, target = [log.absolute() for log in logs], metrics.absolute() if metrics else None
    if target and target.is_dir():  # known before anything is counted
        raise BadInput(f"--metrics {metrics}: is a folder; name the file to write.")
    project.enter()
    from flows.monitoring import monitor as watch

    found = watch(named, run, target)
    print_result(found, as_json, summary.print_monitoring)
    raise typer.Exit(1 if found["alarms"] else 0)


@app.command()
def approve(
    run: str,
    reason: Reason,
    override: Annotated[
        bool, typer.Option("--override", help="Although a declared bound is broken; another person asked before.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Approve a release: show what is approved, record it, and make the policy `champion`."""
    _decide(run, reason, as_json, approved=True, override=override)


@app.command()
def reject(run: str, reason: Reason, as_json: Json = False) -> None:
    """Refuse a release: show what is refused, and record it."""
    _decide(run, reason, as_json, approved=False)


def _decide(run: str, reason: str, as_json: bool, *, approved: bool, override: bool = False) -> None:
    from flows import project, release

    project.enter()
    said = release.decide(
        run, reason, approved=approved, show=lambda text: typer.echo(text, err=True), override=override
    )
    print_result({"status": "done", "exit_code": 0, "message": said}, as_json, lambda m: typer.echo(m["message"]))


@app.command()
def ui(port: int = 5000) -> None:
    """Open the MLflow UI on this project's store, on localhost, until Ctrl-C."""
    from flows import project, servers

    project.enter()
    servers.mlflow_ui(port)


@app.command()
def serve(
    cron: Annotated[str | None, typer.Option("--cron", help="Schedule; default: the one in prefect.yaml.")] = None,
) -> None:
    """Run by schedules and triggers until Ctrl-C, with a local Prefect server unless PREFECT_API_URL names one."""
    from flows import project, serving

    project.enter()
    serving.serve(cron)


@app.command()
def backup(
    out: Annotated[Path, typer.Option("--out", help="File to write; it holds the project's keys.")],
    as_json: Json = False,
) -> None:
    """Write the whole project into one file: code, state with the audit log, models and data."""
    from flows import project

    target = out.absolute()
    project.enter()
    from flows.backup import backup as write

    made = write(target)
    print_result(made, as_json, lambda m: typer.echo(f"{len(m['files'])} files of {m['commit'][:12]} in {target}."))


@app.command()
def restore(
    archive: Annotated[Path, typer.Argument(help="File that `attestrl backup` wrote.")],
    to: Annotated[Path, typer.Option("--to", help="Folder, empty or absent.")],
    as_json: Json = False,
) -> None:
    """Make the project of a backup in an empty folder, and verify it."""
    from flows.backup import restore as make

    made = make(archive.absolute(), to.absolute())
    print_result(made, as_json, lambda m: typer.echo(f"{len(m['files'])} files are as they were; the ledger verifies."))


@app.command()
def migrate(
    mlflow_database: Annotated[
        str, typer.Option("--mlflow-database", envvar="MLFLOW_BACKEND_STORE_URI", help="The MLflow server's own.")
    ],
    as_json: Json = False,
) -> None:
    """Move the history of this project to the team's servers, with its ids and its evidence; nothing here is changed."""
    from flows import project

    project.enter()
    from flows.migrate import migrate as move

    moved = move(mlflow_database)
    print_result(
        moved,
        as_json,
        lambda m: typer.echo(", ".join(f"{number} {what}" for what, number in m.items()) + ". The ledger verifies."),
    )


@app.command()
def doctor(
    production: Annotated[bool, typer.Option("--production", help="Look at the team's servers, too.")] = False,
    as_json: Json = False,
) -> None:
    """Say what is missing on this machine, and how to get it."""
    from flows import doctor as examination
    from flows import production_checks, project

    project.enter()
    findings = examination.examine() + (production_checks.examine() if production else [])
    print_result([f.as_dict() for f in findings], as_json, lambda _: examination.show(findings))
    raise typer.Exit(0 if all(f.ok for f in findings) else 3)


def main() -> None:
    """Entry point: a mistake, a person's or ours, ends in one sentence and its exit code, never in a traceback."""
    gc.set_threshold(NEW_OBJECTS)
    atexit.register(gc.freeze)  # at its very end Python looks through all that was loaded once more: a second of a core
    try:
        code = app(standalone_mode=False)
    except TyperException as error:
        _explain_usage(error)
        sys.exit(error.exit_code)
    except Exception as error:
        known = explained(error) or _unforeseen(error)
        print_error(str(known), known.exit_code)
        sys.exit(known.exit_code)
    sys.exit(code)


def _explain_usage(error: TyperException) -> None:
    said = error.format_message().strip().rstrip(".")
    context = getattr(error, "ctx", None)
    if said:  # nothing is said where nothing was asked: the help stands there by then
        print_error(f"{said}; `{context.command_path if context else 'attestrl'} --help` says more.", error.exit_code)


def _unforeseen(error: Exception) -> AttestError:
    from tasks.stage import unforeseen

    return unforeseen("attestrl", error)


if __name__ == "__main__":
    main()
