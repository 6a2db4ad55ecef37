"""Texts on the disk come back as they were, one by one, in slices and after some were left out."""

import numpy as np

from tasks.stored_texts import StoredTexts

TEXTS = ["", "plain", "Zürich\n—", "\N{GRINNING FACE}", "", "the last"]


def stored() -> StoredTexts:
    texts = StoredTexts()
    for part in (TEXTS[:2], TEXTS[2:3], [], TEXTS[3:]):
        texts.extend(part)
    return texts


def test_texts_are_read_back() -> None:
    texts = stored()
    assert len(texts) == len(TEXTS)
    assert [texts[k] for k in range(len(TEXTS))] == TEXTS
    assert list(texts) == TEXTS
    assert texts[1:4] == TEXTS[1:4]
    assert texts[4:99] == TEXTS[4:]
    assert texts[9:] == []


def test_texts_can_be_added_after_a_look() -> None:
    texts = stored()
    assert texts[2] == TEXTS[2]
    texts.extend(["more"])
    assert texts[len(TEXTS)] == "more"


def test_what_is_left_has_other_places_and_the_same_texts() -> None:
    texts = stored().take(np.array([0, 2, 5]))  # the file stays for whoever still reads it
    assert list(texts) == [TEXTS[0], TEXTS[2], TEXTS[5]]
    assert texts[1:] == [TEXTS[2], TEXTS[5]]
    assert list(texts.take(np.array([1]))) == [TEXTS[2]]
