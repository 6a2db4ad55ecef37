"""Commands in README and docs exist, with the options and arguments that are shown."""

import re
import shlex
from pathlib import Path

import click
import pytest
import typer

from flows.cli import app
from tests.flows.conftest import ROOT

FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```(?:bash|sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def shown(file: Path) -> list[str]:
    """Command lines of a page's fenced and indented blocks."""
    text = file.read_text(encoding="utf-8")
    blocks = FENCED.findall(text) + re.findall(r"^    (attestrl .*)$", text, re.MULTILINE)
    joined = "\n".join(blocks).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines()]


COMMANDS = sorted(
    {(f.name, line) for f in FILES for line in shown(f) if line.startswith("attestrl ") and " | " not in line}
)


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_command_is_taken_as_it_is_shown(page: str, line: str) -> None:
    command: click.Command = typer.main.get_command(app)
    words = shlex.split(line, comments=True)[1:]
    path = "attestrl"
    while isinstance(command, click.Group):
        assert words, line
        assert words[0] in command.commands, f"{page}: {path} has no command {words[0]}"
        path = f"{path} {words[0]}"
        command = command.commands[words.pop(0)]
    try:
        command.make_context(path, words, resilient_parsing=False)
    except click.UsageError as error:
        pytest.fail(f"{page}: {line}: {error.format_message()}")
    except click.exceptions.Exit:
        pass


def test_operations_names_files_of_the_project() -> None:
    named = re.findall(r"\bdeploy/[\w.]+", (ROOT / "docs/operations.md").read_text(encoding="utf-8"))
    assert {n.rstrip(".") for n in named} >= {"deploy/compose.yaml", "deploy/Dockerfile"}
    assert [n for n in named if not (ROOT / n.rstrip(".")).exists() and not n.startswith("deploy/secrets")] == []
