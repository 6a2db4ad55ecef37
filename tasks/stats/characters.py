"""Rare runs of one or two characters, as sets of rows: triggers below the level of words.

Case, punctuation and invisible characters count. Runs that more than RARE of the texts could hold are part of the
language, and are left to words and style; a longer run that is rare has a rare pair in it, or is part of a word.
O(characters); blocks of texts bound the memory.
"""

from collections.abc import Iterator

import numpy as np

from tasks.stats.row_sets import RowSets, from_pairs
from tasks.stats.tokens import BASE, mix
from tasks.stats.writing_style import code_points

RARE = {1: 0.2, 2: 0.05}  # of the texts, by length of the run
TABLE = 20  # bits of the table that counts runs before they are told apart
BLOCK = 8192  # texts read at once


def character_sets(texts: list[str], least: int) -> RowSets:
    """Sets of at least `least` rows, named by the run."""
    groups, rows = [], []
    names: list[np.ndarray] = []
    for n, share in RARE.items():
        count = np.zeros(1 << TABLE, dtype=np.int64)
        for hashes, _, _ in _blocks(texts, n):
            count += np.bincount(_bucket(hashes), minlength=1 << TABLE)
        rare = (count >= least) & (count <= max(least, share * len(texts)))
        kept = [(h[k], row[k], run[k]) for h, row, run in _blocks(texts, n) for k in [rare[_bucket(h)]]]
        if not kept:
            continue
        hashes, row, runs = (np.concatenate(part) for part in zip(*kept, strict=True))
        order = np.argsort(hashes, kind="stable")
        hashes, row = hashes[order], row[order]
        new = np.append(True, hashes[1:] != hashes[:-1])[: len(hashes)]
        groups.append(np.cumsum(new) - 1 + sum(len(k) for k in names))
        rows.append(row)
        names.append(np.array([_text(run) for run in runs[order[new]]], dtype=object))
    if not names:
        return from_pairs(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, object))
    sets = from_pairs(np.concatenate(groups), np.concatenate(rows), np.concatenate(names))
    return sets.take(np.flatnonzero(sets.sizes >= least))


def _bucket(hashes: np.ndarray) -> np.ndarray:
    return (hashes >> np.uint64(64 - TABLE)).astype(np.int32)


def _blocks(texts: list[str], n: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """((r,) hashes, (r,) int32 text, (r, n) characters) of the runs of n characters within a text."""
    for a in range(0, len(texts), BLOCK):
        characters, length = code_points(texts[a : a + BLOCK])
        row = np.repeat(np.arange(a, a + len(length), dtype=np.int32), length)
        last = max(0, len(characters) - n + 1)
        combined = characters[:last].astype(np.uint64) + np.uint64(n << 32)
        for k in range(1, n):
            combined *= np.uint64(BASE)
            combined += characters[k : last + k]
        whole = row[:last] == row[n - 1 :]
        runs = np.stack([characters[k : last + k] for k in range(n)], axis=1)
        yield mix(combined[whole]), row[:last][whole], runs[whole]


def _text(run: np.ndarray) -> str:
    return run.tobytes().decode("utf-32-le", "replace")
