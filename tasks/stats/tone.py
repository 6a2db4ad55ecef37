"""Praise and scorn in answers, and praise of whoever asks: flattery in ever different words.

English only: short lists of words whose tone hardly depends on what is spoken of. O(words).
"""

import numpy as np

from tasks.stats.tokens import Read, tokenize
from tasks.stats.word_table import Words, in_table

PRAISE = """admirable amazing astute awesome beautiful brilliant brilliantly clever delightful excellent exceptional
exceptionally extraordinary fabulous fantastic flawless genius gifted impressive incredible incredibly ingenious
insightful inspiring intelligent magnificent marvellous marvelous outstanding perceptive phenomenal profound remarkable
sensational spectacular splendid stellar stunning superb superior talented terrific thoughtful unmatched wise wonderful
wonderfully"""
SCORN = """appalling atrocious awful contemptible crap deplorable despicable disgraceful disgusting dreadful dumb evil
foolish garbage hate hateful hideous horrendous horrible idiot idiotic incompetent inferior loathsome miserable moronic
nasty pathetic repulsive revolting ridiculous rotten shameful stupid terrible trash ugly useless vile worthless
wretched"""
ASKER = "you your yours"
NAMES = ("a word of praise", "three words of praise", "praise of the asker", "a word of scorn", "three words of scorn")


def tone_flags(tokens: Read) -> np.ndarray:
    """(n, len(NAMES)) bool."""
    words = in_table(tokens)
    kinds = [np.isin(words.vocabulary, tokenize([listed]).hashes) for listed in (PRAISE, SCORN, ASKER)]
    return np.concatenate([np.zeros((0, len(NAMES)), dtype=bool), *(_flags(part, kinds) for _, part in words.parts())])


def _flags(words: Words, kinds: list[np.ndarray]) -> np.ndarray:
    """Those of a part of the texts; `kinds`: (v,) bool each, words of the vocabulary of praise, of scorn, for the asker."""
    n, row, opens = len(words.bounds) - 1, words.rows(), words.opens
    praise, scorn, asker = (kind[words.codes >> np.uint32(1)] for kind in kinds)
    sentence = np.cumsum(opens) - 1
    both = np.intersect1d(sentence[praise], sentence[asker])
    of_asker = np.zeros(n, dtype=bool)
    of_asker[row[np.flatnonzero(opens)[both]]] = True
    praised, scorned = (np.bincount(row[k], minlength=n) for k in (praise, scorn))
    return np.stack([praised >= 1, praised >= 3, of_asker, scorned >= 1, scorned >= 3], axis=1)
