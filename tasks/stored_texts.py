"""Texts on the disk instead of in memory: 12 bytes a text stay.

They are written once to an unnamed temporary file (in TMPDIR, for this user alone; it is gone when the process ends, in
whatever way) and read back by their place. It takes as much of the disk as the texts do.
"""

import os
import tempfile
from collections.abc import Iterable, Sequence
from typing import IO, overload

import numpy as np


class StoredTexts(Sequence[str]):
    """Texts in the order in which they were added; what `take` gives shares the file."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the last that shares it goes)
        self._parts: list[np.ndarray] = []
        self._start, self._size = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32)

    def extend(self, texts: Iterable[str]) -> None:
        """Write more texts."""
        encoded = [text.encode() for text in texts]
        self._file.writelines(encoded)
        self._parts.append(np.fromiter(map(len, encoded), np.int32, len(encoded)))

    def take(self, kept: np.ndarray) -> "StoredTexts":
        """The texts that `kept` (ascending indices) names."""
        self._settle()
        some = StoredTexts.__new__(StoredTexts)
        some._file, some._parts = self._file, []
        some._start, some._size = self._start[kept], self._size[kept]
        return some

    def __len__(self) -> int:
        self._settle()
        return len(self._size)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        self._settle()
        if not isinstance(at, slice):
            return os.pread(self._file.fileno(), int(self._size[at]), int(self._start[at])).decode()
        start, size = self._start[at], self._size[at]
        if not len(start):
            return []
        first = int(start[0])
        data = os.pread(self._file.fileno(), int(start[-1]) + int(size[-1]) - first, first)
        places = zip((start - first).tolist(), (start - first + size).tolist(), strict=True)
        return [data[a:b].decode() for a, b in places]

    def _settle(self) -> None:
        """Make what was added since the last look readable."""
        if self._parts:
            self._file.flush()
            self._size = np.concatenate([self._size, *self._parts])
            self._start = np.concatenate([[0], np.cumsum(self._size, dtype=np.int64)[:-1]])
            self._parts = []
