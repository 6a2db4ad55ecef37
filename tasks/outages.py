"""What a person reads while a server is away: one sentence on standard error.

MLflow's and Prefect's own clients keep what they are to deliver and try again, for four minutes (`tasks.environment`). Of
that they log details for programmers; here the first of them becomes a sentence, until the server has answered again.
"""

import logging
import sys
import time
from typing import ClassVar

# The longest that a client waits between two attempts: without an answer it is the same outage until then.
QUIET_SECONDS = 120.0


class _Attempts(logging.Filter):
    """Turns what a client logs of another attempt into a sentence; lets through what was let through before."""

    _said: ClassVar[dict[str, float]] = {}  # when, by server

    def __init__(self, server: str, beginnings: tuple[str, ...], level: int) -> None:
        super().__init__()
        self._server, self._beginnings, self._level = server, beginnings, level

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        if _answered(record):
            self._said.pop(self._server, None)  # what comes next is another outage
        if not str(record.msg).startswith(self._beginnings) or not self._is_ours(record):
            return record.levelno >= self._level
        if time.monotonic() - self._said.get(self._server, float("-inf")) > QUIET_SECONDS:
            print(
                f"attestrl: the {self._server} server does not answer; waiting for it, and what it is to know is kept.",
                file=sys.stderr,
            )
        self._said[self._server] = time.monotonic()
        return False

    def _is_ours(self, record: logging.LogRecord) -> bool:
        """Every program may use urllib3; its last argument is the path of the request."""
        return self._server != "MLflow" or (isinstance(record.args, tuple) and "/mlflow" in str(record.args[-1]))


def _answered(record: logging.LogRecord) -> bool:
    """Whether urllib3 logs that MLflow's server did what it was asked for."""
    if not str(record.msg).startswith('%s://%s:%s "') or not isinstance(record.args, tuple):
        return False
    *_, path, _, status, _ = record.args
    return "/mlflow" in str(path) and isinstance(status, int) and status < 400


def announce_mlflow() -> None:
    """Say it from now on if the MLflow server is away."""
    _announce("urllib3.connectionpool", "MLflow", ("Retrying (", "Retry: "))


def announce_prefect() -> None:
    """Say it from now on if the Prefect server is away. Prefect must be loaded: it sets its loggers up when it is."""
    _announce(
        "prefect.client", "Prefect", ("Encountered retryable exception", "Received response with retryable status")
    )
    _announce(
        "prefect._internal.concurrency", "Prefect", ("Service ",)
    )  # what its pages would show meanwhile, and will not


def _announce(name: str, server: str, beginnings: tuple[str, ...]) -> None:
    logger = logging.getLogger(name)
    if any(isinstance(f, _Attempts) for f in logger.filters):
        return
    logger.addFilter(_Attempts(server, beginnings, logger.getEffectiveLevel()))
    logger.setLevel(logging.DEBUG)
