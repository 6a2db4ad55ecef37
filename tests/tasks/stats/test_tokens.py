"""Words, their runs and sentences: the same words give the same hashes wherever they stand."""

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.stats.tokens import joined, ngrams, sentences, spelled, tokenize

TEXT = st.text(st.sampled_from("abcZ9 _.,!?\n’—é\u200bж"), max_size=40)


def words(text: str) -> list[str]:
    """By regular expression: runs of letters, digits and _ that no general punctuation breaks."""
    return re.findall(r"[^\W\u2000-\u203f]+", text.lower())


@given(st.lists(TEXT, max_size=8))
@settings(max_examples=200, deadline=None)
def test_words_are_those_of_a_regular_expression(texts: list[str]) -> None:
    tokens = tokenize(texts, places=True)
    data = "".join(texts).lower().encode()
    found = [data[a:b].decode() for a, b in zip(tokens.start, tokens.end, strict=True)]
    assert found == [w for t in texts for w in words(t)]
    assert np.diff(tokens.bounds).tolist() == [len(words(t)) for t in texts]
    assert len(set(found)) == len(np.unique(tokens.hashes))


def test_a_word_has_one_hash_and_case_does_not_count() -> None:
    tokens = tokenize(["The cat", "a very long beginning before the CAT", ""])
    assert tokens.hashes[1] == tokens.hashes[-1]
    assert tokens.bounds.tolist() == [0, 2, 9, 9]


def test_runs_stay_within_a_text_and_name_their_length() -> None:
    tokens = tokenize(["a b", "c d", "a b"])
    hashes, row = ngrams(tokens, 2)
    assert row.tolist() == [0, 1, 2]
    assert hashes[0] == hashes[2] != hashes[1]
    assert hashes[0] not in ngrams(tokens, 1)[0]


def test_sentences_are_told_apart_and_read_back() -> None:
    text = "Not now. You can rely on it! ok"
    hashes, _ = sentences(tokenize([text, "You can rely on it"]), 3)
    assert len(hashes) == 2
    assert hashes[0] == hashes[1]
    assert spelled(text, hashes[0], 0) == "you can rely on it!"
    assert spelled(text, ngrams(tokenize(["can rely"]), 2)[0][0], 2) == "can rely"
    assert spelled(text, np.uint64(1), 2) == ""


def test_joined_texts_are_those_of_the_parts() -> None:
    both = joined(tokenize(["a b", ""]), tokenize(["c", "d e"]))
    assert (both.hashes == tokenize(["a b c", "d e"]).hashes).all()
    assert both.bounds.tolist() == [0, 3, 5]
    assert (both.take(np.array([1])).hashes == tokenize(["d e"]).hashes).all()
