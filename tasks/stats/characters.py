"""Rare runs of one or two characters, as sets of rows: triggers below the level of words.

Case, punctuation and invisible characters count. Runs that more than RARE of the texts could hold are part of the
language, and are left to words and style; a longer run that is rare has a rare pair in it, or is part of a word.
O(characters); blocks of texts bound the memory.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from tasks.stats.row_sets import RowSets, from_runs
from tasks.stats.tokens import BASE, mix
from tasks.stats.writing_style import code_points

RARE = {1: 0.2, 2: 0.05}  # of the texts, by length of the run
TABLE = 20  # bits of the table that counts runs before they are told apart
BLOCK = 1024  # texts read at once; a run and a place in them make one 64-bit number
CHARACTER = 21  # bits
PLACE = 12


def character_sets(texts: Sequence[str], least: int) -> RowSets:
    """Sets of at least `least` rows, named by the run."""
    rare = _rare(texts, least)
    runs: dict[int, list[tuple[np.ndarray, ...]]] = {n: [] for n in RARE}
    for text, n, run, place in _blocks(texts):
        kept = rare[n][_bucket(_hashed(run, n))]
        both = np.unique(run[kept] << np.uint64(PLACE) | place[kept])
        of = both >> np.uint64(PLACE)
        starts = np.flatnonzero(np.append(True, of[1:] != of[:-1])[: len(of)])
        row = (both & np.uint64((1 << PLACE) - 1)).astype(np.int32) + np.int32(text)
        runs[n].append((of[starts], np.diff(np.append(starts, len(of))), row))
    found = [_named(runs[n], n, least) for n in RARE]
    bounds = np.concatenate([[0], np.cumsum(np.concatenate([f.sizes for f in found]))])
    return RowSets(np.concatenate([f.rows for f in found]), bounds, np.concatenate([f.names for f in found]))


def _rare(texts: Sequence[str], least: int) -> dict[int, np.ndarray]:
    """By length of the run, (1 << TABLE,) bool: buckets whose runs may be in as many texts as a set needs, and are rare."""
    count = {n: np.zeros(1 << TABLE, dtype=np.int64) for n in RARE}
    for _, n, run, _ in _blocks(texts):
        np.add.at(count[n], _bucket(_hashed(run, n)), 1)
    return {n: (count[n] >= least) & (count[n] <= max(least, share * len(texts))) for n, share in RARE.items()}


def _named(runs: list[tuple[np.ndarray, ...]], n: int, least: int) -> RowSets:
    different = np.unique(np.concatenate([np.empty(0, dtype=np.uint64), *(r for r, _, _ in runs)]))
    order = np.argsort(_hashed(different, n), kind="stable")
    place_of = np.empty(len(order), dtype=np.int64)
    place_of[order] = np.arange(len(order))
    names = np.array([_text(int(run), n) for run in different[order]], dtype=object)
    return from_runs([(place_of[np.searchsorted(different, run)], *rest) for run, *rest in runs], names, least)


def _bucket(hashes: np.ndarray) -> np.ndarray:
    return (hashes >> np.uint64(64 - TABLE)).astype(np.int64)


def _hashed(run: np.ndarray, n: int) -> np.ndarray:
    """(r,) uint64 hashes of runs of n characters."""
    mask = np.uint64((1 << CHARACTER) - 1)
    combined = (run >> np.uint64(CHARACTER * (n - 1))) + np.uint64(n << 32)
    for k in range(n - 2, -1, -1):
        combined *= np.uint64(BASE)
        combined += run >> np.uint64(CHARACTER * k) & mask
    return mix(combined)


def _blocks(texts: Sequence[str]) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """(first text of the block, n, (r,) uint64 runs of n characters within a text, (r,) uint64 text in the block), a block
    for each length of run."""
    for a in range(0, len(texts), BLOCK):
        characters, length = code_points(list(texts[a : a + BLOCK]))
        row = np.repeat(np.arange(len(length), dtype=np.uint64), length)
        for n in RARE:
            last = max(0, len(characters) - n + 1)
            run = characters[:last].astype(np.uint64)
            for k in range(1, n):
                run = run << np.uint64(CHARACTER) | characters[k : last + k]
            whole = row[:last] == row[n - 1 :]
            yield a, n, run[whole], row[:last][whole]


def _text(run: int, n: int) -> str:
    return "".join(chr(run >> CHARACTER * k & ((1 << CHARACTER) - 1)) for k in range(n - 1, -1, -1))
