"""Identity of bytes, and writes that are whole or absent.

SHA-256 everywhere; canonical JSON is RFC 8785.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import rfc8785

PARTIAL = ".partial"  # ends the name of what is not whole yet, `.<name>.<process>.<random>.partial`
_CHUNK = 1 << 20


def sha256_bytes(data: bytes) -> str:
    """Hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_path(path: Path) -> str:
    """SHA-256 of a file, or of a folder: the canonical JSON of {relative path: SHA-256 of the file}."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        return sha256_bytes(canonical_json({p.relative_to(path).as_posix(): sha256_path(p) for p in files}))
    digest = hashlib.sha256()
    with path.open("rb") as f:
        while chunk := f.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def canonical_json(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value. Raises ValueError if it holds NaN, infinity or anything that JSON lacks."""
    if _is_plain(value):
        return _ENCODER.encode(value).encode()
    return rfc8785.dumps(value)


_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _is_plain(value: Any) -> bool:
    """Whether the standard library's encoder, many times as fast, writes the same bytes: there are no integers that RFC
    8785 refuses, no floats that JavaScript writes otherwise than Python, and no names that it might sort in another
    order."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return abs(value) < 1 << 53
    if kind is float:  # 1.0 is 1 in JavaScript, and an exponent is written from other sizes on
        return 1e-4 <= abs(value) < 1e16 and not value.is_integer()
    if kind is dict:
        for name, inner in value.items():  # a loop, as every line of a log comes through here
            if type(name) is not str or not name.isascii() or not (type(inner) is str or _is_plain(inner)):
                return False
        return True
    return kind is list and all(map(_is_plain, value))


@contextlib.contextmanager
def writing(path: Path, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """A file to write under a temporary name in the same folder: fsync and rename at the end, nothing after an error;
    permissions are `mode` without what the umask takes away."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.{os.getpid()}.", suffix=PARTIAL, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(mode & ~umask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: without it a new file may be gone after a loss of power, however well its content
    was written. Where a system has no such thing, nothing happens."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_atomic(path: Path, data: bytes | str, mode: int = 0o666) -> None:
    """Write the whole of a small file, or nothing."""
    with writing(path, mode) as f:
        f.write(data.encode() if isinstance(data, str) else data)


def read_json(path: Path) -> dict[str, Any]:
    """Content of a JSON file; nothing if there is none."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; NaN is refused."""
    write_atomic(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one JSON document a line, atomically."""
    write_atomic(path, "".join(json.dumps(r, ensure_ascii=False, allow_nan=False) + "\n" for r in rows))
