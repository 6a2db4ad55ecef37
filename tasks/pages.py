"""Pages for people that open from the disk, from the templates beside this module."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def rendered(template: str, **facts: Any) -> str:
    """Text of a page; facts are escaped as HTML, and one that a template names and nobody gives is an error."""
    environment = Environment(
        loader=PackageLoader("tasks"), undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(**facts)
