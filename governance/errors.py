"""Errors that a person can act on, each with the exit code of its kind.

Raise one of these where the mistake is seen, with one sentence that names what, where (file, row, field) and what to
do. Only the edges (`flows.cli`, `tasks.stage`) catch them.
"""


class AttestError(Exception):
    """Base of every error whose message is meant for a person."""

    exit_code = 1


class GateRefused(AttestError):
    """A gate said no: the run stops, nothing downstream is written."""

    exit_code = 1


class BadInput(AttestError):
    """The user's data, parameters or usage need a change."""

    exit_code = 2


class MissingComponent(AttestError):
    """A component is missing or down: a server, a package, a network, a disk."""

    exit_code = 3
