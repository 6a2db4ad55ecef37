"""What a run made and from what, by its entries in the audit log: names and SHA-256, no files."""

from collections.abc import Iterable, Iterator, Sequence

from governance.entry import Entry, Event

_INPUT = "input:"


def made(entries: Iterable[Entry]) -> dict[str, str]:
    """SHA-256 of every output of the run's stages by path."""
    return {name: digest for e in _done(entries) for name, digest in e.subject_digests.items() if not _is_input(name)}


def read_by(entries: Iterable[Entry], stage: str) -> dict[str, str]:
    """SHA-256 of what a stage of the run read, by path."""
    return {
        name.removeprefix(_INPUT): digest
        for e in _done(entries)
        if e.data["stage"] == stage
        for name, digest in e.subject_digests.items()
        if _is_input(name)
    }


def stale(entries: Sequence[Entry]) -> Iterator[str]:
    """A sentence for whatever a stage used that is not what the run's own stage made: no chain from base to evaluation."""
    outputs = made(entries)
    for stage in dict.fromkeys(str(e.data["stage"]) for e in _done(entries)):
        for path, digest in read_by(entries, stage).items():
            if outputs.get(path, digest) != digest:
                yield f"stage {stage} used a {path} ({digest[:12]}) that the run did not make ({outputs[path][:12]})"


def _done(entries: Iterable[Entry]) -> Iterator[Entry]:
    return (e for e in entries if e.type in (Event.STAGE_MADE, Event.STAGE_CACHED))


def _is_input(name: str) -> bool:
    return name.startswith(_INPUT)
