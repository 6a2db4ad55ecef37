"""One progress bar for every long loop: bar and time left on a terminal, a line now and then in a log."""

import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from tasks import launcher

Advance = Callable[[int], object]  # told of each further number of units that are done


def nobody(_: int) -> None:
    """For whom nobody waits."""


def bar(total: int, description: str, unit: str, done: int = 0) -> "tqdm[Any]":
    """A tqdm bar on standard error, of which `done` is behind already; every half second on a terminal, every ten in a
    log file."""
    interval = 0.5 if sys.stderr.isatty() else 10.0
    return tqdm(
        total=total,
        initial=done,
        desc=description,
        unit=unit,
        unit_scale=unit == "B",
        mininterval=interval,
        file=sys.stderr,
        dynamic_ncols=True,
        disable=launcher.rank() > 0,
    )
