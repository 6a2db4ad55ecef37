"""Rows compared with each other in tables too large to hold: 8 bytes a row instead of its text.

A key is a 64-bit hash of what is compared. Among n rows two different values share a key with probability of about
n²/2⁶⁵: less than one in a million for five million rows. Keys are compared within one process and never stored.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Mask = NDArray[np.bool_]


def of_text(values: pl.Series) -> Keys:
    """Keys of a column of text, shape [rows]; null has a key of its own."""
    return values.hash(0).to_numpy()


def of_rows(frame: pl.DataFrame) -> Keys:
    """Keys of whole rows, shape [rows]."""
    return of_text(frame.select(pl.struct(pl.all()).struct.json_encode()).to_series())


def repeated(keys: Keys) -> NDArray[np.intp]:
    """Indices of the rows whose key stands on more than one row, ascending."""
    ordered = np.sort(keys)
    several = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    return np.flatnonzero(among(keys, several))


def later(keys: Keys) -> Mask:
    """True on every row whose key stood on an earlier row, shape [rows]."""
    mask = np.zeros(len(keys), dtype=bool)
    rows = repeated(keys)
    first = np.unique(keys[rows], return_index=True)[1]
    mask[rows] = True
    mask[rows[first]] = False
    return mask


def disagreeing(keys: Keys, values: NDArray[np.generic]) -> Mask:
    """True on every row whose key stands beside more than one value, shape [rows]."""
    mask = np.zeros(len(keys), dtype=bool)
    rows = repeated(keys)
    group = np.unique(keys[rows], return_inverse=True)[1]
    kind = np.unique(values[rows], return_inverse=True)[1]
    pairs = np.unique(np.stack([group, kind]), axis=1)[0]
    mask[rows] = np.bincount(pairs, minlength=1)[group] > 1 if len(rows) else False
    return mask


def among(keys: Keys, known: Keys) -> Mask:
    """True where a key is one of `known` (ascending), shape [rows]."""
    if len(known) == 0:
        return np.zeros(len(keys), dtype=bool)
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return known[at] == keys
