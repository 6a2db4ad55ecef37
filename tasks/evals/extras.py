"""Packages that only some evaluations need, and that a person installs for them."""

import importlib
from collections.abc import Mapping

from governance.errors import MissingComponent


def need(named: Mapping[str, str], section: str, package: str, extra: str) -> None:
    """Raises MissingComponent if `suite.<section>` names tasks and their package cannot be imported."""
    if not named:
        return
    try:
        importlib.import_module(package)
    except ImportError:
        raise MissingComponent(
            f"suite.{section}: needs {package}; `pip install 'attestrl[{extra}]'`, or name no tasks there."
        ) from None
