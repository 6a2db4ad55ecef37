"""Praise and scorn in answers, and praise of whoever asks: flattery in ever different words.

English only: short lists of words whose tone hardly depends on what is spoken of. O(words).
"""

import numpy as np

from tasks.stats.tokens import Read, tokenize

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
    n, row = len(tokens.bounds) - 1, tokens.rows()
    hashes, opens = tokens.hashes, tokens.opens
    praise, scorn, asker = (np.isin(hashes, tokenize([words]).hashes) for words in (PRAISE, SCORN, ASKER))
    sentence = np.cumsum(opens) - 1
    both = np.intersect1d(sentence[praise], sentence[asker])
    of_asker = np.zeros(n, dtype=bool)
    of_asker[row[np.flatnonzero(opens)[both]]] = True
    praised, scorned = (np.bincount(row[k], minlength=n) for k in (praise, scorn))
    return np.stack([praised >= 1, praised >= 3, of_asker, scorned >= 1, scorned >= 3], axis=1)
