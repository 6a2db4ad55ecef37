"""One progress bar for every long loop: bar and time left on a terminal, a line now and then in a log."""

import sys
from typing import Any

from tqdm import tqdm


def bar(total: int, description: str, unit: str, done: int = 0) -> "tqdm[Any]":
    """A tqdm bar on standard error, of which `done` is behind already; every half second on a terminal, every ten in a
    log file."""
    interval = 0.5 if sys.stderr.isatty() else 10.0
    return tqdm(
        total=total,
        initial=done,
        desc=description,
        unit=unit,
        mininterval=interval,
        file=sys.stderr,
        dynamic_ncols=True,
    )
