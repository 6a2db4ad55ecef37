"""How every command prints its result: a document for machines, or text for people."""

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, nothing else.")]


def print_result(document: Any, as_json: bool, people: Callable[[Any], None]) -> None:
    """Print `document` as one line of JSON, or hand it to `people`."""
    if as_json:
        sys.stdout.write(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        people(document)
