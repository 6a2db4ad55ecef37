"""What git still has of a person's rows: every object of the repository is read, whatever points at it.

Nothing here rewrites history: clones and remotes have it as well, and only their owners can. Until they did, an erasure is
not called complete.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from governance import erasure
from tasks.pseudonyms import PSEUDONYM
from tasks.reading import FILE_ENDINGS

NOWHERE = "no commit"  # an object that git has not thrown away yet: `git gc --prune=now`
_EVERY = ("--all", "--reflog")
_PLAIN = re.compile(r"\d*|.{1,4}")  # identifiers that stand in many files without naming anybody


def holding(pseudonym: str, identifier: str | None, sources: Sequence[str]) -> list[str]:
    """`commit path` for every file of any commit with rows of the person: with the pseudonym anywhere, with the vendor's
    identifier, as a word, in data files; only in `sources` where the identifier is a number or short. Without the
    identifier, sources that git has are named as not searched."""
    texts = [t for t in (pseudonym, identifier) if t]
    found = dict(_hits(texts))
    places = _places(set(found)) if found else {}
    named = {
        f"{commit} {path}"
        for oid, text in found.items()
        for commit, path in places.get(oid, [(NOWHERE, oid[:12])])
        if _is_row(text, commit, path, sources)
    }
    if identifier is None:
        unsearched = {source: of_file(Path(source)) for source in sources}
        named |= {f"{c[0]} {s}: not searched without the vendor's identifier" for s, c in unsearched.items() if c}
    return sorted(named)


def commit_of(place: str) -> str:
    """The commit of one of the places that `holding` gives."""
    return NOWHERE if place.startswith(NOWHERE) else place.split(" ", 1)[0]


def of_file(path: Path) -> list[str]:
    """Commits, of any branch, that changed a file or folder."""
    done = _git("log", *_EVERY, "--format=%H", "--", path.as_posix())
    return [commit[:12] for commit in done.decode().split()]


def _is_row(text: str, commit: str, path: str, sources: Sequence[str]) -> bool:
    """Whether a file that holds the text holds rows, by what the text is and what the file is called."""
    if PSEUDONYM.fullmatch(text) or any(PurePosixPath(path).is_relative_to(source) for source in sources):
        return True
    return not _PLAIN.fullmatch(text) and (commit == NOWHERE or path.endswith(FILE_ENDINGS))


def _hits(texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(object, text) for every file that git has and that holds one of the texts, the first that it holds."""
    words = [(t, re.compile(rb"(?<![\w-])" + re.escape(t.encode()) + rb"(?![\w-])")) for t in texts]
    command = ["git", "cat-file", "--batch-all-objects", "--batch", "--buffer", "--unordered"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as git:
        assert git.stdout is not None
        while header := git.stdout.readline().split():
            oid, kind, size = header[0].decode(), header[1], int(header[2])
            content = git.stdout.read(size + 1)[:size]
            if kind == b"blob" and (text := _first(content, words)):
                yield oid, text


def _first(content: bytes, words: list[tuple[str, re.Pattern[bytes]]]) -> str | None:
    if content.startswith((erasure.PARQUET, erasure.GZIP)):  # only a reader of the format sees what it holds
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            return next((text for text, _ in words if erasure.rows_in(Path(file.name), text)), None)
    return next((text for text, word in words if word.search(content)), None)


def _places(objects: set[str]) -> dict[str, list[tuple[str, str]]]:
    """(commit, path) by object, in one walk through all commits; merges are read against every parent."""
    found: dict[str, list[tuple[str, str]]] = {}
    commit = ""
    rows = _git("log", *_EVERY, "-m", "--root", "--raw", "-z", "--no-abbrev", "--no-renames", "--format=%x01%H").split(
        b"\0"
    )
    about = ""
    for row in (r.decode(errors="replace") for r in rows):
        text = row.lstrip("\n")
        if text.startswith("\x01"):
            commit, _, text = text[1:].partition("\n")
            commit = commit[:12]
            text = text.lstrip("\n")
        if text.startswith(":"):
            about = text
        elif about:
            made = about.split()[3]
            if made in objects and (commit, text) not in found.get(made, []):
                found.setdefault(made, []).append((commit, text))
            about = ""
    return found


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else b""
