"""How every command prints its result, or why there is none: a document for machines, or text for people."""

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, nothing else.")]


def print_error(sentence: str, exit_code: int) -> None:
    """Say why a command did nothing: to people on standard error, and with `--json` as the one document, whose fields are
    named as in the record of a run."""
    typer.echo(f"attestrl: {sentence}", err=True)
    if "--json" in sys.argv[1:]:
        status = "refused" if exit_code == 1 else "failed"
        print_result({"status": status, "exit_code": exit_code, "message": sentence}, True, lambda _: None)


def print_result(document: Any, as_json: bool, people: Callable[[Any], None]) -> None:
    """Print `document` as one line of JSON, or hand it to `people`."""
    if as_json:
        sys.stdout.write(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        people(document)
