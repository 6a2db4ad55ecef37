"""Pages for people that open from the disk, without a script and without a network, from the templates beside this module."""

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def rendered(template: str, filters: dict[str, Callable[..., Any]] | None = None, **facts: Any) -> str:
    """Text of a page; facts are escaped as HTML, and one that a template names and nobody gives is an error."""
    environment = Environment(
        loader=PackageLoader("tasks"), undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "interval": interval} | (filters or {})
    return environment.get_template(template).render(**facts) + "\n"


def percent(value: float | None) -> str:
    """0.1234 as 12.3 %."""
    return "not known" if value is None else f"{100 * value:.1f} %"


def interval(low: float | None, high: float | None) -> str:
    """An interval beside its figure, in per cent."""
    return "" if low is None or high is None else f"[{100 * low:.1f}, {100 * high:.1f}]"
