"""`attestrl ledger`: verify the audit log, change the key that signs its checkpoints."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.printing import Json, print_result
from governance.errors import BadInput

app = typer.Typer(no_args_is_help=True, help="The audit log.")

Reason = Annotated[str, typer.Option("--reason", help="Why; it goes into the audit log.")]


@app.command()
def verify(
    key: Annotated[Path | None, typer.Option("--key", help="Public key (PEM): trust this one alone.")] = None,
    as_json: Json = False,
) -> None:
    """Verify the audit log: every entry, the chain between them, and the signed checkpoints."""
    from flows import project, sealing
    from governance.dsse import read_public

    public = read_public(_text(key), str(key)) if key else None
    project.enter()
    found = sealing.notary().verify(public)

    def people(_: Any) -> None:
        typer.echo(f"{found.entries} entries, {found.covered} under a signed checkpoint, " + _verdict(found.ok))
        for line in (*found.problems, *found.notices):
            typer.echo(f"  {line}")

    last = found.last.name if found.last else None
    print_result({"ok": found.ok, **vars(found), "last": last}, as_json, people)
    raise typer.Exit(0 if found.ok else 1)


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


def _verdict(ok: bool) -> str:
    return "the chain is whole." if ok else "not intact:"


def _given(reason: str) -> str:
    if not reason.strip():
        raise BadInput("--reason: is empty; say why, it goes into the audit log.")
    return reason.strip()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise BadInput(f"--key {file}: cannot be read; name a public key in PEM.") from None
