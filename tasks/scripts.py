"""Which script the letters of a text are of: Latin, or mostly another."""

import numpy as np
import polars as pl

from tasks.keys import Mask


def is_latin(texts: pl.Series) -> pl.Series:
    """Whether at least half of a text's letters are Latin; true without letters."""
    plain = texts.str.len_bytes() == texts.str.len_chars()  # ASCII: all its letters are
    other = texts.filter(~plain)
    letters, latin = other.str.count_matches(r"\p{L}"), other.str.count_matches(r"\p{Latin}")
    found = np.ones(len(texts), dtype=bool)
    found[~plain.to_numpy()] = (latin * 2 >= letters).to_numpy()
    return pl.Series("is_latin", found)


class Scripts:
    """The rows of a table that are of another script than most, from chunks of it."""

    def __init__(self) -> None:
        self._latin: list[Mask] = []
        self._counts: list[Mask] = []

    def add(self, prompts: pl.Series, counts: Mask) -> None:
        """Take a chunk's prompts; rows where `counts` is false do not count."""
        text = prompts.list.eval(pl.element().struct.field("content")).list.join(" ")
        self._latin.append(is_latin(text).to_numpy())
        self._counts.append(counts)

    def usual_is_latin(self) -> bool:
        """Whether the table's script is Latin: the texts' majority."""
        return bool(sum((latin & n).sum() for latin, n in self._pairs()) * 2 >= sum(n.sum() for n in self._counts))

    def odd(self) -> Mask:
        """True on every row of another script, shape [rows]."""
        usual = self.usual_is_latin()
        return np.concatenate([(latin != usual) & n for latin, n in self._pairs()])

    def _pairs(self) -> list[tuple[Mask, Mask]]:
        return list(zip(self._latin, self._counts, strict=True))
