"""Errors that a person can act on, each with the exit code of its kind.

Raise one of these where the mistake is seen, with one sentence that names what, where (file, row, field) and what to
do. Only the edges (`flows.cli`, `tasks.stage`) catch them; there, `explained` turns what the disk says into one, too.
"""

import errno
import re
from collections.abc import Iterator


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


DISK = {
    errno.ENOSPC: "the disk is full; free some space, then run again",
    errno.EDQUOT: "the disk quota is used up; free some space, then run again",
    errno.EROFS: "is on a read-only disk; name a folder that can be written to",
    errno.EACCES: "may not be read or written by this user; change its permissions, or name another folder",
    errno.EPERM: "may not be changed by this user; change its permissions, or name another folder",
    errno.ENOTDIR: "a part of this path is a file, not a folder; name another folder",
    errno.EISDIR: "is a folder where a file is needed; name a file",
    errno.EIO: "the disk reports an error; look at the disk, bring damaged files back from a backup, then run again",
}
# Libraries that write by themselves (SQLite, safetensors, polars) say it in words of their own.
WORDS = {
    r"no space left on device|disk is full": errno.ENOSPC,
    r"read-only file system|readonly database": errno.EROFS,
    r"permission denied|unable to open database file": errno.EACCES,
    r"disk i/o error": errno.EIO,
}
DAMAGED = r"database disk image is malformed|file is not a database"


def explained(error: BaseException) -> AttestError | None:
    """The error itself if a person can act on it, our own if the disk, or the name of a file, is its cause, else None."""
    for cause in _chain(error):
        if isinstance(cause, AttestError):
            return cause
        if isinstance(cause, FileNotFoundError) and cause.filename == "git":
            return MissingComponent("git: is not on this machine, or not on the PATH; install it.")
        if isinstance(cause, OSError) and cause.errno in DISK:
            where = f"{_meant(str(cause.filename))}: " if cause.filename else ""
            kind = BadInput if cause.errno in (errno.ENOTDIR, errno.EISDIR) else MissingComponent
            return kind(f"{where}{DISK[cause.errno]}.")
        if about := _of_mlflow(cause) or _of_prefect(cause) or about_the_disk(str(cause)):
            return MissingComponent(about)
    return None


def _meant(name: str) -> str:
    """The file that was to be written, for the temporary name under which it was (`governance.digest.writing`)."""
    return re.sub(r"\.([^/]+)\.\d+\.[^./]+\.partial$", r"\1", name)


def _of_mlflow(cause: BaseException) -> str | None:
    """Our sentence for what MLflow's client raises; None if it is not of it."""
    if type(cause).__name__ == "RestException":  # what the server answered
        said = " ".join(str(cause).split())[:300]
        return f"the MLflow server refused: {said}; look at the permissions of this user."
    if type(cause).__name__ == "MaxRetryError" and "/mlflow" in str(cause):  # of urllib3, after minutes of waiting
        return "the MLflow server does not answer; start it, then run again to go on from here."
    return None


def _of_prefect(cause: BaseException) -> str | None:
    """Our sentence for what Prefect's client raises where nobody answers at its address; None if it is not of it."""
    found = re.match(r"Failed to reach API at (\S+)", str(cause)) if isinstance(cause, RuntimeError) else None
    if found is None:
        return None
    return f"the Prefect server at {found[1]} does not answer; start it, or unset PREFECT_API_URL, then run again."


def about_the_disk(text: str) -> str | None:
    """Our sentence for what a library or a program says of the disk; None if it says nothing of it."""
    if re.search(DAMAGED, text):
        return (
            "a database of this project (.attestrl/mlflow.db, or another one there) is damaged; bring it back from a backup "
            "(`attestrl restore`), or move it away, then run again."
        )
    number = next((n for words, n in WORDS.items() if re.search(words, text, re.IGNORECASE)), None)
    return None if number is None else f"a file of this project: {DISK[number]}."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
