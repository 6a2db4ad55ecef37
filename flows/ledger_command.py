"""`attestrl ledger`: verify the audit log, change the key that signs its checkpoints."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.printing import Json, print_result
from governance.errors import BadInput

if TYPE_CHECKING:
    from governance.notary import Audit

app = typer.Typer(no_args_is_help=True, help="The audit log.")

SENTENCES = {
    "whole": "the chain is whole.",
    "under way": "the chain is whole; a run is under way, whose end signs the rest:",
    "end not signed": "the chain is whole, but nobody vouches for its end: no run is under way here, so a command was "
    "killed, a checkpoint could not be written, another machine's run goes on, or somebody wrote there:",
    "not intact": "not intact:",
}
Reason = Annotated[str, typer.Option("--reason", help="Why; it goes into the audit log.")]


@app.command()
def verify(
    key: Annotated[Path | None, typer.Option("--key", help="Public key (PEM): trust this one alone.")] = None,
    as_json: Json = False,
) -> None:
    """Verify the audit log: every entry, the chain between them, and the signed checkpoints. Exit code 1 also where its
    end is under no signature and no run is under way."""
    from flows import exclusive, project, sealing
    from governance.dsse import read_public

    public = read_public(_text(key), str(key)) if key else None
    project.enter()
    running = exclusive.busy()
    found = sealing.notary().verify(public)
    running = running or exclusive.busy()
    verdict = _verdict(found, running)

    def people(_: Any) -> None:
        typer.echo(f"{found.entries} entries, {found.covered} under a signed checkpoint, {SENTENCES[verdict]}")
        for line in (*found.problems, *found.notices):
            typer.echo(f"  {line}")

    ok = verdict in ("whole", "under way")
    said = {name: value for name, value in vars(found).items() if name != "keys"}
    document = {"ok": ok, "verdict": verdict, **said, "last": found.last.name if found.last else None}
    print_result(document, as_json, people)
    raise typer.Exit(0 if ok else 1)


@app.command()
def rotate_key(reason: Reason) -> None:
    """Sign with another key from now on; what the one before signed stays valid."""
    from flows import project, sealing
    from governance.decision import current_actor

    project.enter()
    typer.echo(f"key {sealing.notary().rotate(current_actor(), _given(reason))[:16]} signs from now on.")


@app.command()
def revoke_key(
    reason: Reason,
    key: Annotated[str | None, typer.Argument(help="Id of the key, or its beginning; default: the active one.")] = None,
) -> None:
    """Stop trusting a key that others may have; what it signed so far is confirmed under another key."""
    from flows import project, sealing
    from governance.decision import current_actor

    project.enter()
    typer.echo(f"key {sealing.notary().revoke(current_actor(), key, _given(reason))[:16]} is revoked.")


def _verdict(found: "Audit", running: bool) -> str:
    """Which of `SENTENCES` is true."""
    if not found.ok:
        return "not intact"
    if found.covered == found.entries:
        return "whole"
    return "under way" if running else "end not signed"


def _given(reason: str) -> str:
    if not reason.strip():
        raise BadInput("--reason: is empty; say why, it goes into the audit log.")
    return reason.strip()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise BadInput(f"--key {file}: cannot be read; name a public key in PEM.") from None
