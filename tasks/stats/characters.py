"""Rare runs of one or two characters, as sets of rows: triggers below the level of words.

Case, punctuation and invisible characters count. Runs that more than RARE of the texts could hold are part of the
language, and are left to words and style; a longer run that is rare has a rare pair in it, or is part of a word.
O(characters).
"""

import numpy as np

from tasks.stats.phrases import TABLE
from tasks.stats.row_sets import RowSets, from_pairs
from tasks.stats.tokens import BASE, mix
from tasks.stats.writing_style import code_points

RARE = {1: 0.2, 2: 0.05}  # of the texts, by length of the run


def character_sets(texts: list[str], least: int) -> RowSets:
    """Sets of at least `least` rows, named by the run."""
    characters, length = code_points(texts)
    row = np.repeat(np.arange(len(texts), dtype=np.int32), length)
    groups, rows = [], []
    names: list[np.ndarray] = []
    for n, share in RARE.items():
        hashes, first = _runs_of(characters, row, n)
        bucket = (hashes >> np.uint64(64 - TABLE)).astype(np.int32)
        count = np.bincount(bucket, minlength=1 << TABLE)[bucket]
        rare = (count >= least) & (count <= max(least, share * len(texts)))
        hashes, first = hashes[rare], first[rare]
        order = np.argsort(hashes, kind="stable")
        hashes, first = hashes[order], first[order]
        new = np.append(True, hashes[1:] != hashes[:-1])[: len(hashes)]
        groups.append(np.cumsum(new) - 1 + sum(len(k) for k in names))
        rows.append(row[first])
        names.append(np.array([_text(characters[f : f + n]) for f in first[new]], dtype=object))
    sets = from_pairs(np.concatenate(groups), np.concatenate(rows), np.concatenate(names))
    return sets.take(np.flatnonzero(sets.sizes >= least))


def _runs_of(characters: np.ndarray, row: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    last = max(0, len(characters) - n + 1)
    combined = characters[:last].astype(np.uint64) + np.uint64(n << 32)
    for k in range(1, n):
        combined *= np.uint64(BASE)
        combined += characters[k : last + k]
    whole = np.flatnonzero(row[:last] == row[n - 1 :]) if n > 1 else np.arange(last)
    return mix(combined[whole]), whole


def _text(run: np.ndarray) -> str:
    return run.tobytes().decode("utf-32-le", "replace")
