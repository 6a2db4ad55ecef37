"""How texts are written, whatever they say: capitals, punctuation, spaces, invisible and look-alike characters.

Every character belongs to one of sixteen classes; a text's counts of class pairs (a 16 × 16 table, its ends a class of
their own) tell all the styles below. O(characters).
"""

import unicodedata
from collections.abc import Sequence

import numpy as np

(OTHER, UPPER, LOWER, DIGIT, SPACE, NEWLINE, ODD_SPACE, STOP, BANG, QUESTION, COMMA, PUNCTUATION, SYMBOL, INVISIBLE,
 FOREIGN, END) = range(16)  # fmt: skip
SINGLE = {" ": SPACE, "\n": NEWLINE, ".": STOP, "…": STOP, "!": BANG, "?": QUESTION, ",": COMMA}
CATEGORY = {"Lu": UPPER, "Ll": LOWER, "Nd": DIGIT, "Cf": INVISIBLE, "Cc": ODD_SPACE, "Zs": ODD_SPACE}
UNKNOWN = 255  # class of a character that has not been met
BLOCK = 256  # texts whose tables are made at once: a part that stays in a core's cache
NAMES = (
    "capitals only", "no capitals", "a capital inside a word", "three capitals inside words", "most words capitalised",
    "a digit inside a word", "double space", "three double spaces", "blank line", "line break", "space at the end",
    "space at the beginning", "begins with a small letter", "ends without punctuation", "ends with a full stop",
    "ends with an exclamation mark", "ends with a question mark", "an exclamation mark", "three exclamation marks",
    "repeated exclamation marks", "repeated question marks", "dots", "a question mark", "no comma",
    "space before punctuation", "no space after a comma", "a symbol or emoji", "an unusual space or control character",
    "an invisible character", "a look-alike letter inside a word", "letters of another script", "a digit",
    "begins with a digit or symbol", "begins with a quotation mark or other punctuation",
    "ends with a quotation mark or other punctuation", "a line that begins with punctuation or a symbol",
    "a line that begins with a digit", "doubled punctuation",
)  # fmt: skip


def style_flags(texts: Sequence[str]) -> np.ndarray:
    """(n, len(NAMES)) bool."""
    classes = np.full(0x110000, UNKNOWN, dtype=np.uint8)
    parts = [_flags(_tables(list(texts[a : a + BLOCK]), classes)) for a in range(0, len(texts), BLOCK)]
    return np.concatenate(parts) if parts else np.zeros((0, len(NAMES)), dtype=bool)


def code_points(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """((c,) uint32 characters of all texts, (n,) characters of each)."""
    joined = "".join(texts).encode("utf-32-le", "surrogatepass")
    return np.frombuffer(joined, dtype=np.uint32), np.fromiter(map(len, texts), np.int64, len(texts))


def _classes(characters: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(c,) uint8 class of each character; `known`: (0x110000,) of each that was met, and is filled in."""
    found = known[characters]
    new = np.unique(characters[found == UNKNOWN])
    if not len(new):
        return found
    for code in new.tolist():
        known[code] = SINGLE.get(chr(code), _class(chr(code)))
    return known[characters]


def _class(character: str) -> int:
    category = unicodedata.category(character)
    if category[0] == "L" and ord(character) > 0x24F:  # beyond the Latin blocks
        return FOREIGN
    if category in CATEGORY:
        return CATEGORY[category]
    return {"P": PUNCTUATION, "S": SYMBOL, "Z": ODD_SPACE, "C": INVISIBLE}.get(category[0], OTHER)


def _tables(texts: list[str], known: np.ndarray) -> np.ndarray:
    """(n, 16, 16) counts: how often a character of one class is followed by one of another."""
    characters, length = code_points(texts)
    n = len(texts)
    inside = np.ones(len(characters) + n, dtype=bool)
    inside[np.cumsum(length + 1) - 1] = False
    after = np.full(len(inside), END, dtype=np.uint8)
    after[inside] = _classes(characters, known)
    pair = after.copy()  # sixteen times the class before, and that after
    pair[:1] += END << 4
    pair[1:] += after[:-1] << 4
    row = np.repeat(np.arange(0, n * 256, 256), length + 1)
    return np.bincount(row + pair, minlength=n * 256).reshape(n, 16, 16)


def _flags(t: np.ndarray) -> np.ndarray:
    count = t.sum(axis=1)  # (n, 16): characters of each class
    letters = count[:, UPPER] + count[:, LOWER]
    inner = t[:, LOWER, UPPER]
    capital_words, small_words = t[:, SPACE, UPPER] + t[:, END, UPPER], t[:, SPACE, LOWER] + t[:, END, LOWER]
    digit_in_word = t[:, LOWER, DIGIT] + t[:, UPPER, DIGIT]
    mixed = t[:, FOREIGN, LOWER] + t[:, LOWER, FOREIGN] + t[:, UPPER, FOREIGN] + t[:, FOREIGN, UPPER]
    marks = [STOP, BANG, QUESTION, COMMA]
    final = t[:, :, END]
    columns = (
        (letters >= 10) & (count[:, UPPER] >= 0.9 * letters), (letters >= 20) & (count[:, UPPER] == 0),
        inner >= 1, inner >= 3, (capital_words >= 5) & (capital_words >= 0.9 * (capital_words + small_words)),
        digit_in_word >= 1, t[:, SPACE, SPACE] >= 1, t[:, SPACE, SPACE] >= 3, t[:, NEWLINE, NEWLINE] >= 1,
        count[:, NEWLINE] >= 1, final[:, [SPACE, NEWLINE, ODD_SPACE]].sum(axis=1) > 0,
        t[:, END][:, [SPACE, NEWLINE, ODD_SPACE]].sum(axis=1) > 0, t[:, END, LOWER] > 0,
        final[:, [UPPER, LOWER, DIGIT, OTHER, FOREIGN]].sum(axis=1) > 0, final[:, STOP] > 0, final[:, BANG] > 0,
        final[:, QUESTION] > 0, count[:, BANG] >= 1, count[:, BANG] >= 3, t[:, BANG, BANG] >= 1,
        t[:, QUESTION, QUESTION] >= 1, t[:, STOP, STOP] >= 1, count[:, QUESTION] >= 1,
        (letters >= 60) & (count[:, COMMA] == 0), t[:, SPACE][:, marks].sum(axis=1) > 0,
        t[:, COMMA, LOWER] + t[:, COMMA, UPPER] >= 1, count[:, SYMBOL] >= 1, count[:, ODD_SPACE] >= 1,
        count[:, INVISIBLE] >= 1, mixed >= 1, count[:, FOREIGN] >= 1, count[:, DIGIT] >= 1,
        t[:, END, DIGIT] + t[:, END, SYMBOL] > 0, t[:, END, PUNCTUATION] > 0, final[:, PUNCTUATION] > 0,
        t[:, NEWLINE, PUNCTUATION] + t[:, NEWLINE, SYMBOL] >= 1, t[:, NEWLINE, DIGIT] >= 1,
        t[:, PUNCTUATION, PUNCTUATION] >= 2,  # as around bold words
    )  # fmt: skip
    return np.stack(columns, axis=1)
