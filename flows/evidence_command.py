"""`attestrl evidence`: one run in one file that an auditor can verify without this software."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.printing import Json, print_result
from governance.errors import BadInput

app = typer.Typer(no_args_is_help=True, help="Evidence for auditors.")


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="Run id, 'latest', or 'all'.")],
    out: Annotated[Path, typer.Option("--out", help="Zip file to write; for 'all' a folder.")],
    as_json: Json = False,
) -> None:
    """Write the evidence of a run, its page for people and its own verify.py into one file."""
    from flows import listing, project, sealing
    from governance import bundle
    from governance.decision import current_actor
    from governance.digest import sha256_bytes, write_atomic
    from governance.entry import Event
    from tasks import paths

    target = out.absolute()
    project.enter()
    known = listing.runs() if run == "all" else [listing.load(run)]
    damaged = [r["message"] for r in known if r["status"] == listing.DAMAGED]
    runs = [r["run_id"] for r in known if r["status"] != listing.DAMAGED]
    if not known:
        raise BadInput("there are no runs yet; `attestrl run` makes the first.")
    notary, actor = sealing.notary(), current_actor()
    written: list[dict[str, str]] = []
    try:
        for folder, data in bundle.export([paths.home() / "records" / r for r in runs], notary, actor):
            file = target / f"evidence-{folder.name}.zip" if run == "all" else target
            write_atomic(file, data)
            written.append({"run_id": folder.name, "file": str(file), "sha256": sha256_bytes(data)})
    finally:
        with notary.ledger.batch() as add:
            for w in written:
                digests = {"bundle": w["sha256"]}
                add(Event.EXPORTED, run_id="", actor=actor, subject_digests=digests, data={"run": w["run_id"]})
        if written:
            sealing.seal(actor)
    if damaged:
        raise BadInput(f"{damaged[0]} The other {len(written)} of {len(known)} runs are written to {out}.")
    key = notary.keyring.active()
    document = {"bundles": written, "key": key.keyid if key else None}

    def people(_: Any) -> None:
        for w in written:
            typer.echo(f"{w['file']}: evidence of run {w['run_id']}, sha256 {w['sha256']}")
        typer.echo(f"signed by key {document['key']}; give this, or its public half, to the auditor in another way.")

    print_result(document, as_json, people)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="Zip file, or the folder it was unpacked into.")],
    key: Annotated[Path | None, typer.Option("--key", help="Public key (PEM) that must have signed it.")] = None,
    as_json: Json = False,
) -> None:
    """Verify a bundle, with the program that lies in every bundle. Needs no project."""
    from governance.verify_bundle import verify as verify_bundle

    for named in (bundle, key):
        if named and not named.exists():
            raise BadInput(f"{named}: there is no such file; correct the path.")
    reasons, facts = verify_bundle(str(bundle), str(key) if key is not None else None)

    def people(_: Any) -> None:
        for line in [f"refused: {r}" for r in reasons] or facts:
            typer.echo(line)

    print_result({"verified": not reasons, "reasons": reasons, "facts": facts}, as_json, people)
    raise typer.Exit(1 if reasons else 0)


@app.command()
def diff(
    before: Annotated[str, typer.Argument(help="Run id.")],
    after: Annotated[str, typer.Argument(help="Run id, or 'latest'.")],
    as_json: Json = False,
) -> None:
    """Say what changed between two runs: code, parameters, data, models, figures, verdict."""
    from flows import listing, project
    from governance.difference import difference
    from tasks import paths

    project.enter()
    folders = [paths.home() / "records" / listing.load(run)["run_id"] for run in (before, after)]
    changes = difference(*folders)

    def people(_: Any) -> None:
        for change in changes:
            typer.echo(change.sentence())
        if not changes:
            typer.echo("nothing changed.")

    print_result([c.as_dict() for c in changes], as_json, people)


@app.command()
def key(out: Annotated[Path, typer.Option("--out", help="PEM file to write.")]) -> None:
    """Write the public key that signs now, for auditors."""
    from flows import project, sealing
    from governance.digest import write_atomic

    target = out.absolute()
    project.enter()
    active = sealing.notary().keyring.active()
    if active is None:
        raise BadInput("no key has signed yet; the first run, or `attestrl ledger rotate-key`, makes one.")
    write_atomic(target, active.public)
    typer.echo(f"{out}: public key {active.keyid}")
