"""Documents for people, from the templates beside this module."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

UNKNOWN = "*not known*"


def cell(value: Any) -> str:
    """A value as the text of a Markdown table's cell: one line, in which no `|` ends the cell."""
    return " ".join(str(value).split()).replace("|", "\\|")


def code(value: str | None) -> str:
    """A digest or name in code style."""
    return UNKNOWN if value is None else f"`{value}`"


def render(template: str, **facts: Any) -> str:
    """Render a Markdown template; a fact that a template names and nobody gives is an error."""
    return _templates().get_template(template).render(unknown=UNKNOWN, **facts)


@cache  # it keeps the templates that it has compiled
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("governance"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown, not HTML
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": cell, "code": code}
    return environment
