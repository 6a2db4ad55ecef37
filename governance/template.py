"""Documents for people, from the templates beside this module."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

UNKNOWN = "*not known*"


def render(template: str, **facts: Any) -> str:
    """Render a Markdown template; a fact that a template names and nobody gives is an error."""
    environment = Environment(
        loader=PackageLoader("governance"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown, not HTML
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(unknown=UNKNOWN, **facts)
